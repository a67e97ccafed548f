// Preload that simulates a host with AMX for callers of ptrace(): the extended state has LARGE
// bytes, and setting less of it fails with EFAULT, as in xstateregs_set() of
// arch/x86/kernel/fpu/regset.c. Tests load it after `uml_preload.c`, or alone to make a guest panic.
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LARGE = 11008 };

// State of components that this host's processor lacks: not initial until it is set.
static unsigned char beyond[LARGE] = {[0 ... LARGE - 1] = 0xaa};

static long get(pid_t pid, void *set, struct iovec *given)
{
	static unsigned char state[LARGE];
	struct iovec all = {state, sizeof state};
	long result = syscall(SYS_ptrace, PTRACE_GETREGSET, pid, set, &all);
	if (result < 0) return result;
	memcpy(state + all.iov_len, beyond + all.iov_len, LARGE - all.iov_len);
	if (given->iov_len > LARGE) given->iov_len = LARGE;
	memcpy(given->iov_base, state, given->iov_len);
	return 0;
}

static long set(pid_t pid, void *set, struct iovec *given)
{
	if (given->iov_len < LARGE) {
		errno = EFAULT;
		return -1;
	}
	memcpy(beyond, given->iov_base, LARGE);
	struct iovec real = {given->iov_base, given->iov_len};
	return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, set, &real);
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list list;
	va_start(list, request);
	pid_t pid = va_arg(list, pid_t);
	void *address = va_arg(list, void *), *data = va_arg(list, void *);
	va_end(list);
	int is_extended_state = (uintptr_t)address == NT_X86_XSTATE;
	if (request == PTRACE_GETREGSET && is_extended_state) return get(pid, address, data);
	if (request == PTRACE_SETREGSET && is_extended_state) return set(pid, address, data);
	// As in the C library: what PEEK requests find is the result, and not where `data` points.
	long word;
	int is_peek = request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER;
	long result = syscall(SYS_ptrace, request, pid, address, is_peek ? &word : data);
	if (result < 0 || !is_peek) return result;
	errno = 0;
	return word;
}
