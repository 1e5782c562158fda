package lab

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The shim stands between the program and an old User-Mode Linux on a new
// processor.
//
// User-Mode Linux up to 6.12 has room for 2696 bytes of a process's vector
// registers, those up to AVX-512, and hands them to the host with
// PTRACE_SETREGSET. A host whose processor has more (with AMX they are 11008
// bytes) takes all or nothing: the guest's first process dies with "ptrace set
// fp regs failed, errno = 14". The kernel has a second way, PTRACE_SETFPREGS,
// which it takes when PTRACE_GETREGSET fails at the start. The shim sees to
// that, with a seccomp filter, and then executes User-Mode Linux.
//
// The second way leaves the upper halves of the AVX registers where they are.
// A guest process with several threads, or with signal handlers, could find
// those of another thread in them, so that the guest's environment tells Go
// and the C library to do without.
const shimName = "isthmus-uml-shim"

// ntX86Xstate is NT_X86_XSTATE of linux/elf.h.
const ntX86Xstate = 0x202

// runShim replaces the process, which was started under the shim's name, by
// User-Mode Linux. args are its program and its arguments.
func runShim(args []string) {
	err := refuseXstate()
	if err == nil {
		err = unix.Exec(args[0], args, os.Environ())
	}
	fmt.Fprintf(os.Stderr, "%sstart %s: %v\n", agentPrefix, args[0], err)
	os.Exit(1)
}

// withoutAVX is the environment that keeps the programs of a guest from using
// the AVX registers.
var withoutAVX = []string{
	"GODEBUG=cpu.avx=off,cpu.avx2=off,cpu.avx512f=off,cpu.avx512bw=off,cpu.avx512vl=off",
	"GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Fast_Unaligned_Load",
}

// LacksAVX reports whether a User-Mode Linux of this kernel release has no room
// for the vector registers of this machine. Its guests then do without AVX.
func LacksAVX(release string) bool {
	return compareVersions(release, "6.13") < 0 && signalFrame() > maxOldFrame
}

// maxOldFrame is an upper bound of the signal frame on a machine whose vector
// registers fit in an old User-Mode Linux. With AVX-512 and protection keys a
// frame has 3632 bytes, with AMX 11952.
const maxOldFrame = 4096

// signalFrame returns the size of the largest signal frame of this machine,
// which is that of the vector registers and about a kilobyte. It is the
// kernel's AT_MINSIGSTKSZ, zero if that is unknown.
func signalFrame() uint64 {
	const atMinSigStkSz = 51
	auxv, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		return 0
	}
	for ; len(auxv) >= 16; auxv = auxv[16:] {
		if binary.NativeEndian.Uint64(auxv) == atMinSigStkSz {
			return binary.NativeEndian.Uint64(auxv[8:])
		}
	}
	return 0
}
