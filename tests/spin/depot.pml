/*
 * depot.pml - magazines that change hands between two slots and a shared depot
 *
 * Wrong if it failed: an object could be lost, or be handed to two callers at once, when
 * slots exchange magazines, or when an object is freed by another thread than its owner.
 *
 * A slot's loaded magazine is its own and is used without a lock. When it is empty at an
 * allocation, or full at a free, it is exchanged at the depot: there the steps are single
 * loads and stores, under the cache's lock.
 *
 * With NO_LOCK defined the lock does nothing, and the property must fail: see
 * depot_without_lock_must_fail.pml.
 */

#define SIZE 2      /* objects in a magazine */
#define OBJECTS 4   /* all free at first: two full magazines in the depot */
#define MAGAZINES 4 /* and two empty ones, loaded */
#define STEPS 4     /* of each thread */

typedef magazine {
	byte count;
	byte object[SIZE]
};

magazine mag[MAGAZINES];

typedef stack {
	byte count;
	byte item[MAGAZINES]
};

/* The depot: a stack of full magazines and one of empty ones. */
#define FULL 0
#define EMPTY 1
stack depot[2];
bool locked;

bool held[OBJECTS]; /* by the program */
byte done;

#ifdef NO_LOCK
#define lock() skip
#define unlock() skip
#else
#define lock() atomic { !locked -> locked = true }
#define unlock() locked = false
#endif

/* Give my magazine to one stack, take one from the other. */
inline exchange(from, to)
{
	lock();
	n = depot[from].count;
	if
	:: n == 0 -> got = false
	:: else ->
		other = depot[from].item[n - 1];
		depot[from].count = n - 1;
		n = depot[to].count;
		depot[to].item[n] = mine;
		depot[to].count = n + 1;
		mine = other
	fi;
	unlock()
}

proctype thread(byte me)
{
	byte mine, other, n, object, step;
	bool got;

	mine = me + 2;
	for (step : 1 .. STEPS) {
		if
		:: true -> /* allocate */
			got = true;
			if
			:: mag[mine].count == 0 -> exchange(FULL, EMPTY)
			:: else -> skip
			fi;
			if
			:: got ->
				assert(mag[mine].count > 0);
				atomic {
					mag[mine].count--;
					object = mag[mine].object[mag[mine].count];
					assert(!held[object]);
					held[object] = true
				}
			:: else -> skip
			fi
		:: held[0] || held[1] || held[2] || held[3] -> /* free any object, whoever took it */
			got = true;
			if
			:: mag[mine].count == SIZE -> exchange(EMPTY, FULL)
			:: else -> skip
			fi;
			if
			:: got ->
				assert(mag[mine].count < SIZE);
				atomic {
					if
					:: held[0] -> object = 0
					:: held[1] -> object = 1
					:: held[2] -> object = 2
					:: held[3] -> object = 3
					:: else -> object = OBJECTS /* somebody else was faster */
					fi;
					if
					:: object < OBJECTS ->
						held[object] = false;
						mag[mine].object[mag[mine].count] = object;
						mag[mine].count++
					:: else -> skip
					fi
				}
			:: else -> skip
			fi
		fi
	}
	done++
}

init {
	byte i, j, seen;

	atomic {
		for (i : 0 .. 1) {
			mag[i].count = SIZE;
			mag[i].object[0] = i * SIZE;
			mag[i].object[1] = i * SIZE + 1;
			depot[FULL].item[i] = i
		}
		depot[FULL].count = 2;
		run thread(0);
		run thread(1)
	}
	done == 2;
	/* Each object is in one magazine or with the program, and in no two. */
	d_step {
		for (j : 0 .. OBJECTS - 1) {
			seen = 0;
			if
			:: held[j] -> seen = 1
			:: else -> skip
			fi;
			for (i : 0 .. MAGAZINES - 1) {
				if
				:: mag[i].count > 0 && mag[i].object[0] == j -> seen++
				:: else -> skip
				fi;
				if
				:: mag[i].count > 1 && mag[i].object[1] == j -> seen++
				:: else -> skip
				fi
			}
			assert(seen == 1)
		}
	}
}
