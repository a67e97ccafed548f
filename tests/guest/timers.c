// timers SECONDS THREADS: each thread sleeps for one to five milliseconds at a time. Prints the
// total number of sleeps, and the duration of the longest one in milliseconds.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds;

struct sleeper { pthread_t thread; unsigned seed; uint64_t sleeps; double longest; };

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void *sleep_often(void *argument)
{
	struct sleeper *sleeper = argument;
	double end = now() + seconds;
	for (double before = now(), after; before < end; before = after, sleeper->sleeps++) {
		struct timespec pause = {0, (1 + rand_r(&sleeper->seed) % 5) * 1000000L};
		nanosleep(&pause, NULL);
		after = now();
		if (after - before > sleeper->longest) sleeper->longest = after - before;
	}
	return NULL;
}

int main(int count, char **arguments)
{
	if (count != 3) return 2;
	seconds = atof(arguments[1]);
	int threads = atoi(arguments[2]);
	struct sleeper *sleepers = calloc(threads, sizeof *sleepers);
	for (int i = 0; i < threads; i++) {
		sleepers[i].seed = i;
		if (pthread_create(&sleepers[i].thread, NULL, sleep_often, &sleepers[i])) return 1;
	}
	uint64_t sleeps = 0;
	double longest = 0;
	for (int i = 0; i < threads; i++) {
		pthread_join(sleepers[i].thread, NULL);
		sleeps += sleepers[i].sleeps;
		if (sleepers[i].longest > longest) longest = sleepers[i].longest;
	}
	printf("sleeps=%llu longest_ms=%.0f\n", (unsigned long long)sleeps, longest * 1000);
	return 0;
}
