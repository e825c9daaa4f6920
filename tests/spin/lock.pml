/*
 * lock.pml - the lock of base/lock.h: free, held, held with sleepers
 *
 * Wrong if it failed: two threads could hold one lock, or a thread could sleep for ever on
 * a lock that is free.
 *
 * qy_port_sleep(word, value) sleeps only if the word still has that value, which is checked
 * and done in one step; qy_port_wake() wakes all. Three threads, each takes the lock twice.
 *
 * With MARK_LOST defined a waiter does not mark the word, and it must fail: see
 * lock_without_mark_must_fail.pml.
 */

#define THREADS 3
#define ROUNDS 2

#ifdef MARK_LOST
#define MARK 1
#else
#define MARK 2
#endif

byte word;   /* 0 free, 1 held, 2 held and somebody may sleep */
byte inside; /* threads that hold it */
bool asleep[THREADS];

active [THREADS] proctype thread()
{
	byte round, old;

	for (round : 1 .. ROUNDS) {
		/* qy_lock(): one compare-exchange. */
		atomic {
			old = word;
			if
			:: word == 0 -> word = 1
			:: else -> skip
			fi
		}
		do
		:: old == 0 -> break
		:: else -> /* qy_lock_slow(): poll ... */
			atomic {
				if
				:: word == 0 -> word = 1; old = 0
				:: true -> skip
				fi
			}
			if
			:: old == 0 -> break
			:: else -> skip
			fi;
			/* ... then mark and sleep until the exchange finds it free. */
			do
			:: atomic {
					old = word;
					word = MARK
				}
				if
				:: old == 0 -> break
				:: else -> skip
				fi;
				atomic {
					if
					:: word == MARK -> asleep[_pid] = true
					:: else -> skip
					fi
				}
				!asleep[_pid]
			od
		od;
		inside++;
		assert(inside == 1);
		inside--;
		/* qy_unlock(). */
		atomic {
			old = word;
			word = 0
		}
		if
		:: old == 2 -> /* qy_port_wake() */
			atomic {
				asleep[0] = false;
				asleep[1] = false;
				asleep[2] = false
			}
		:: else -> skip
		fi
	}
}
