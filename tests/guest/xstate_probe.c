// Sets the vector registers of a traced process as linux.uml does, with 2,696 bytes of extended
// state, reads them back and prints the result. Runs with the preloads under test.
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GUESTS_SIZE = 2696, XMM0 = 160, XMM_BYTES = 16 * 16, LARGEST = 65536 };

static void require(int holds, const char *what)
{
	if (holds) return;
	perror(what);
	exit(1);
}

int main(void)
{
	pid_t child = fork();
	if (!child) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	require(waitpid(child, NULL, 0) == child, "waitpid");

	static unsigned char given[LARGEST], read_back[LARGEST];
	struct iovec part = {given, GUESTS_SIZE}, all = {read_back, sizeof read_back};
	require(ptrace(PTRACE_GETREGSET, child, (void *)NT_X86_XSTATE, &part) == 0, "getting the state");
	for (int byte = 0; byte < XMM_BYTES; byte++) given[XMM0 + byte] = byte * 7 + 1;
	given[512] |= 3; // x87 and SSE are in use
	require(ptrace(PTRACE_SETREGSET, child, (void *)NT_X86_XSTATE, &part) == 0, "setting the state");
	require(ptrace(PTRACE_GETREGSET, child, (void *)NT_X86_XSTATE, &all) == 0, "getting it back");
	require(memcmp(given + XMM0, read_back + XMM0, XMM_BYTES) == 0, "the vector registers differ");
	size_t beyond = 0;
	for (size_t byte = GUESTS_SIZE; byte < all.iov_len; byte++) beyond += read_back[byte] != 0;
	printf("%zu bytes set, %zu bytes in all, %zu not zero behind\n", part.iov_len, all.iov_len, beyond);
	ptrace(PTRACE_KILL, child, NULL, NULL);
	return 0;
}
