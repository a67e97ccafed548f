// vectors SECONDS PROCESSES: computes chaotic sequences with x87, SSE and the widest vector
// registers of the processor, in several processes at once. Each round must end with the same bits
// as the first one: a register that is lost or mixed up between processes changes them. Prints the
// widest set, the number of rounds, and the number of wrong ones.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 2000000, LANES = 8, SEQUENCES = 6 };

typedef double vector __attribute__((vector_size(LANES * sizeof(double))));
typedef struct { vector lanes[SEQUENCES]; long double x87; } result;

// The logistic map doubles an error with each step. All sequences stay in registers for a whole round.
static inline __attribute__((always_inline)) void compute(uint64_t seed, result *end)
{
	vector x[SEQUENCES];
	for (int sequence = 0; sequence < SEQUENCES; sequence++)
		for (int lane = 0; lane < LANES; lane++)
			x[sequence][lane] = 1.0 / (3 + seed + sequence * LANES + lane);
	long double y = 1.0L / (seed + 2);
	for (int step = 0; step < STEPS; step++) {
#pragma GCC unroll 6
		for (int sequence = 0; sequence < SEQUENCES; sequence++) x[sequence] = 3.99 * x[sequence] * (1.0 - x[sequence]);
		y = 3.99L * y * (1.0L - y);
	}
	memset(end, 0, sizeof *end);
	memcpy(end->lanes, x, sizeof x);
	memcpy(&end->x87, &y, 10); // the rest is padding
}

__attribute__((target("avx512f"), noinline)) static void compute_avx512(uint64_t seed, result *end) { compute(seed, end); }
__attribute__((target("avx2"), noinline)) static void compute_avx2(uint64_t seed, result *end) { compute(seed, end); }
__attribute__((noinline)) static void compute_sse2(uint64_t seed, result *end) { compute(seed, end); }

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int count, char **arguments)
{
	if (count != 3) return 2;
	double seconds = atof(arguments[1]);
	int processes = atoi(arguments[2]);
	void (*widest)(uint64_t, result *) = compute_sse2;
	const char *name = "sse2";
	if (__builtin_cpu_supports("avx2")) widest = compute_avx2, name = "avx2";
	if (__builtin_cpu_supports("avx512f")) widest = compute_avx512, name = "avx512f";

	int found[2];
	if (pipe(found)) return 2;
	for (int process = 0; process < processes; process++) {
		if (fork()) continue;
		static result first, again;
		uint64_t rounds[2] = {0, 0}; // in all, wrong
		widest(process, &first);
		for (double end = now() + seconds; now() < end; rounds[0]++) {
			(rounds[0] % 2 ? compute_sse2 : widest)(process, &again);
			rounds[1] += memcmp(&first, &again, sizeof first) != 0;
		}
		_exit(write(found[1], rounds, sizeof rounds) != sizeof rounds);
	}
	uint64_t all[2] = {0, 0}, one[2];
	for (int process = 0; process < processes; process++) {
		int status;
		if (wait(&status) < 0 || status || read(found[0], one, sizeof one) != sizeof one) return 1;
		all[0] += one[0], all[1] += one[1];
	}
	printf("%s rounds=%llu wrong=%llu\n", name, (unsigned long long)all[0], (unsigned long long)all[1]);
	return all[1] != 0;
}
