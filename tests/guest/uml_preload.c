// Preload of linux.uml (Debian 12, User-Mode Linux 6.1) that works around two of its faults. The
// harness compiles it and loads it into every guest's kernel; see `harness/guest/kernel.rs`.
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <time.h>

// Fault 1: a panic in the first process on processors with AMX.
//
// linux.uml keeps 2,696 bytes of extended state per process (HOST_FP_SIZE in
// arch/x86/um/asm/processor.h). A host whose processor has more, 11,008 bytes with AMX, rejects a
// PTRACE_SETREGSET of less than all of it with EFAULT (xstateregs_set() in
// arch/x86/kernel/fpu/regset.c). This preload extends the guest's state to the host's size. No
// program in a guest has state of the further components: linux.uml has no arch_prctl() that
// permits AMX.
typedef long ptrace_function(enum __ptrace_request, pid_t, void *, void *);

enum { LARGEST = 65536, HEADER = 512, FIRST_EXTENDED_COMPONENT = 2, COMPONENTS = 63 };

// Returns the components of extended state within the first `length` bytes, as bits of the
// header's first 64-bit field.
static uint64_t components_within(size_t length)
{
	uint64_t within = 3; // x87 and SSE, in the legacy area
	for (unsigned component = FIRST_EXTENDED_COMPONENT; component < COMPONENTS; component++) {
		unsigned size, offset, flags, unused;
		if (!__get_cpuid_count(0xd, component, &size, &offset, &flags, &unused)) break;
		if (size && offset + size <= length) within |= UINT64_C(1) << component;
	}
	return within;
}

// Returns the size in bytes of the host's extended state, the same for all processes; 0 if `pid`
// cannot be read.
static size_t host_state_size(ptrace_function *next, pid_t pid, void *set)
{
	static size_t size;
	static char state[LARGEST];
	if (size) return size;
	struct iovec all = {state, sizeof state};
	return next(PTRACE_GETREGSET, pid, set, &all) < 0 ? 0 : (size = all.iov_len);
}

static long set_extended_state(ptrace_function *next, pid_t pid, void *set, struct iovec *given)
{
	static char whole[LARGEST] __attribute__((aligned(64))); // linux.uml has one thread
	static uint64_t known;
	size_t size = host_state_size(next, pid, set);
	if (given->iov_len >= size || given->iov_len < HEADER + sizeof(uint64_t))
		return next(PTRACE_SETREGSET, pid, set, given);
	if (!known) known = components_within(given->iov_len);
	memcpy(whole, given->iov_base, given->iov_len);
	// A component whose bit is not set takes its initial state.
	uint64_t present;
	memcpy(&present, whole + HEADER, sizeof present);
	present &= known;
	memcpy(whole + HEADER, &present, sizeof present);
	struct iovec all = {whole, size};
	return next(PTRACE_SETREGSET, pid, set, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
	static ptrace_function *next;
	va_list list;
	va_start(list, request);
	pid_t pid = va_arg(list, pid_t);
	void *address = va_arg(list, void *), *data = va_arg(list, void *);
	va_end(list);
	if (!next) next = (ptrace_function *)dlsym(RTLD_NEXT, "ptrace");
	if (request == PTRACE_SETREGSET && (uintptr_t)address == NT_X86_XSTATE)
		return set_extended_state(next, pid, address, data);
	return next(request, pid, address, data);
}

// Fault 2: a guest that stands still, for minutes or for good.
//
// The guest's clock is a one-shot timer that only the handler of its SIGALRM rearms.
// unblock_signals() (arch/um/os-Linux/signal.c) drops a SIGALRM that arrives while that handler
// runs: the timer is then never rearmed, and the guest runs only on other interrupts. This preload
// makes each one-shot timer repeat until it is rearmed or disarmed. A superfluous interrupt costs
// a few microseconds.
enum { REPEAT_NANOSECONDS = 20000000 };

int timer_settime(timer_t timer, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	static int (*next)(timer_t, int, const struct itimerspec *, struct itimerspec *);
	if (!next) next = dlsym(RTLD_NEXT, "timer_settime");
	struct itimerspec repeated = *new;
	int is_armed = new->it_value.tv_sec || new->it_value.tv_nsec;
	int is_one_shot = !new->it_interval.tv_sec && !new->it_interval.tv_nsec;
	if (is_armed && is_one_shot) repeated.it_interval.tv_nsec = REPEAT_NANOSECONDS;
	return next(timer, flags, &repeated, old);
}
