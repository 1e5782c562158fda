package lab

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// The keeper is a process between the program and User-Mode Linux. It does two
// things.
//
// It takes the whole guest along when the program dies without having stopped
// it: User-Mode Linux has helper processes, and none of the signals that the
// kernel may send to it in that case reaches them.
//
// It makes an old User-Mode Linux run on a new processor. Up to 6.12 there is
// room for 2696 bytes of a process's vector registers, those up to AVX-512,
// which go to the host by PTRACE_SETREGSET. A host whose processor has more
// (with AMX they are 11008 bytes) takes all or nothing: the guest's first
// process dies with "ptrace set fp regs failed, errno = 14". The kernel has a
// second way, PTRACE_SETFPREGS, which it takes when PTRACE_GETREGSET fails at
// the start, and a seccomp filter sees to that.
//
// The second way leaves the upper halves of the AVX registers where they are.
// A guest process with several threads, or with signal handlers, could find
// those of another thread in them, so that the guest's environment tells Go
// and the C library to do without.
const keeperName = "isthmus-uml-keeper"

// ntX86Xstate is NT_X86_XSTATE of linux/elf.h.
const ntX86Xstate = 0x202

// keeperArgs returns the arguments of a keeper that runs program with args.
func keeperArgs(release, program string, args []string) []string {
	return append([]string{keeperName, strconv.FormatBool(LacksAVX(release)), program}, args...)
}

// keep is the keeper. args are its own, without its name.
func keep(args []string) {
	code, err := keepProgram(args[0] == strconv.FormatBool(true), args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "%sstart %s: %v\n", agentPrefix, args[1], err)
	}
	os.Exit(code)
}

// keepProgram runs the program args[0] until it ends, or kills the process
// group, itself included, when the program that started the keeper is gone.
func keepProgram(withoutXstate bool, args []string) (code int, err error) {
	unix.CloseOnExec(fdLifeline)
	go func() {
		// Nothing is ever written to it.
		os.NewFile(fdLifeline, "lifeline").Read(make([]byte, 1))
		unix.Kill(0, unix.SIGKILL)
	}()
	if withoutXstate {
		// In this thread, from which the child has it.
		if err := refuseXstate(); err != nil {
			return 1, err
		}
	}
	pid, err := syscall.ForkExec(args[0], args, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2, fdLink, fdInitrd},
	})
	if err != nil {
		return 1, err
	}
	return reapUntil(pid), nil
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
