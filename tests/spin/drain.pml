/*
 * drain.pml - who may touch a per-CPU list, with no atomic on the owner's path
 *
 * Wrong if it failed: a frame could be lost, or handed out twice, when one thread drains the
 * list of another.
 *
 * The owner's path (base/percpu.h) is: store busy; look at the limit; work; store idle. Its
 * fences are compiler barriers alone, so on a processor of the x86 kind its stores wait in a store
 * buffer, in order, while its loads overtake them. Each of the two threads has such a buffer
 * here, drained by a process of its own at any moment; a load looks into the own buffer
 * first. The heavy barrier (membarrier, an IPI) empties all buffers.
 *
 * A signal handler may interrupt the owner at its work, and wait for the lock that the drainer
 * holds: the slot is suspended meanwhile, and the drainer goes past it.
 *
 * With NO_HEAVY_BARRIER defined the barrier does nothing, and with SUSPENDED 0 a suspended slot
 * looks idle: the property must fail, see drain_without_..._must_fail.pml.
 */

#define FRAMES 3 /* on the list at first */
#define ROUNDS 4 /* of the owner: one operation each */
#define DRAINS 3 /* of the drainer */

/* Values of busy. */
#define IDLE 0
#define INSIDE 1
#ifndef SUSPENDED
#define SUSPENDED 2
#endif

#define OWNER 0
#define DRAINER 1

/* The shared words. */
#define BUSY 0
#define LIMIT 1
#define COUNT 2
#define STOP 3
#define NR_WORDS 4

byte memory[NR_WORDS];

/* Store buffers: (word, value), oldest first. */
chan buffer0 = [5] of { byte, byte };
chan buffer1 = [5] of { byte, byte };

/* What each has in flight of each word: how many stores, and the youngest value. */
byte pending[8];
byte youngest[8];

#define SLOT(cpu, word) ((cpu) * NR_WORDS + (word))

inline store0(word, value)
{
	atomic {
		nfull(buffer0) -> buffer0 ! word, value;
		pending[SLOT(OWNER, word)]++;
		youngest[SLOT(OWNER, word)] = value
	}
}

inline store1(word, value)
{
	atomic {
		nfull(buffer1) -> buffer1 ! word, value;
		pending[SLOT(DRAINER, word)]++;
		youngest[SLOT(DRAINER, word)] = value
	}
}

inline load(cpu, word, result)
{
	atomic {
		if
		:: pending[SLOT(cpu, word)] > 0 -> result = youngest[SLOT(cpu, word)]
		:: else -> result = memory[word]
		fi
	}
}

/* What the property counts: seen by nobody, outside the memory model. */
byte owner_has;     /* frames that the owner took and did not give back */
byte zone_has;      /* frames that the drainer gave to the zone */
bool owner_works;   /* the owner was let in, and has not stored idle yet */
bool drainer_works; /* the drainer is at the list */
bool asleep;        /* the owner, in qy_port_sleep(&stop, 1) */
bool lock;          /* cpus_lock; an atomic instruction empties its processor's buffer */
bool owner_done;

proctype buffer_of_owner()
{
	byte word, value;
end:
	do
	:: atomic {
		buffer0 ? word, value ->
		memory[word] = value;
		pending[SLOT(OWNER, word)]--
	}
	od
}

proctype buffer_of_drainer()
{
	byte word, value;
end:
	do
	:: atomic {
		buffer1 ? word, value ->
		memory[word] = value;
		pending[SLOT(DRAINER, word)]--
	}
	od
}

/* A signal at this moment. What it does under the lock takes none of the slot's frames. */
inline handler()
{
	atomic {
		store0(BUSY, SUSPENDED);
		owner_works = false
	}
	empty(buffer0);
	atomic {
		!lock -> lock = true
	}
	store0(BUSY, INSIDE);
	empty(buffer0);
	atomic {
		lock = false;
		owner_works = true
	}
}

proctype owner()
{
	byte limit, count, round;

	for (round : 1 .. ROUNDS) {
		do
		:: store0(BUSY, INSIDE);
			if
			:: handler()
			:: skip
			fi;
			owner_works = false;
			/* Compiler barrier. */
			atomic {
				load(OWNER, LIMIT, limit);
				owner_works = (limit != 0)
			}
			if
			:: limit != 0 -> break
			:: else -> /* stopped: back off, and sleep as long as stop is set */
				store0(BUSY, IDLE);
				empty(buffer0); /* a system call */
				atomic {
					if
					:: memory[STOP] == 1 -> asleep = true
					:: else -> skip
					fi
				}
				!asleep
			fi
		od;
		assert(!drainer_works);
		load(OWNER, COUNT, count);
		if
		:: handler()
		:: skip
		fi;
		if
		:: count > 0 -> /* take one */
			store0(COUNT, count - 1);
			owner_has++
		:: owner_has > 0 -> /* or give one back */
			store0(COUNT, count + 1);
			owner_has--
		:: count == 0 && owner_has == 0 -> skip
		fi;
		/* Compiler barrier. */
		owner_works = false;
		store0(BUSY, IDLE)
	}
	empty(buffer0);
	owner_done = true
}

proctype drainer()
{
	byte busy, count, round;

	for (round : 1 .. DRAINS) {
		atomic {
			!lock -> lock = true
		}
		store1(STOP, 1);
		store1(LIMIT, 0);
#ifndef NO_HEAVY_BARRIER
		/* The own buffer first, then that of every other processor. */
		empty(buffer1);
		empty(buffer0);
#endif
		do
		:: load(DRAINER, BUSY, busy);
			if
			:: busy != INSIDE -> break
			:: else -> skip
			fi
		od;
		load(DRAINER, BUSY, busy);
		if
		:: busy != SUSPENDED || SUSPENDED == IDLE ->
			drainer_works = true;
			assert(!owner_works);
			load(DRAINER, COUNT, count);
			zone_has = zone_has + count;
			store1(COUNT, 0);
			drainer_works = false
		:: else -> skip
		fi;
		store1(LIMIT, 1);
		store1(STOP, 0);
		empty(buffer1); /* a system call: */
		atomic {
			asleep = false; /* qy_port_wake(&stop) */
			lock = false
		}
	}
	owner_done;
	/* Nothing lost, nothing doubled; and nobody sleeps for ever, or spin reports that the
	 * end is invalid. */
	assert(owner_has + zone_has + memory[COUNT] == FRAMES)
}

init {
	atomic {
		memory[LIMIT] = 1;
		memory[COUNT] = FRAMES;
		run buffer_of_owner();
		run buffer_of_drainer();
		run owner();
		run drainer()
	}
}
