package lab

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// User-Mode Linux is started by way of two helpers, which are the agent's
// program under other names. The process that Run starts is the launcher: it
// starts the keeper, and then becomes User-Mode Linux.
//
// The keeper takes the whole guest along when the program dies without having
// stopped it: User-Mode Linux has helper processes, and none of the signals
// that the kernel may send it in that case reaches them. The keeper waits for
// the end of the lifeline, a pipe whose other end the program holds, and then
// kills the process group, of which it is a part.
//
// The launcher makes an old User-Mode Linux run on a new processor. Up to 6.12
// there is room for 2696 bytes of a process's vector registers, those up to
// AVX-512, which go to the host by PTRACE_SETREGSET. A host whose processor
// has more (with AMX they are 11008 bytes) takes all or nothing: the guest's
// first process dies with "ptrace set fp regs failed, errno = 14". The kernel
// has a second way, PTRACE_SETFPREGS, which it takes when PTRACE_GETREGSET
// fails at the start, and a seccomp filter sees to that.
//
// The second way leaves the upper halves of the AVX registers where they are.
// A guest process with several threads, or with signal handlers, could find
// those of another thread in them, so that the guest's environment tells Go
// and the C library to do without.
const (
	launcherName = "isthmus-uml-launcher"
	keeperName   = "isthmus-uml-keeper"
)

// helpers are the processes that [MaybeInit] makes, by the name they are
// started under. They get their arguments without the name and do not return.
var helpers = map[string]func(args []string){
	launcherName: launch,
	keeperName:   keep,
}

// ntX86Xstate is NT_X86_XSTATE of linux/elf.h.
const ntX86Xstate = 0x202

// launcherArgs returns the arguments of a launcher of the User-Mode Linux
// program, a kernel of that release, with args.
func launcherArgs(release, program string, args []string) []string {
	return append([]string{launcherName, strconv.FormatBool(LacksAVX(release)), program}, args...)
}

// launch is the launcher.
func launch(args []string) {
	err := startKeeper()
	if err == nil && args[0] == strconv.FormatBool(true) {
		err = refuseXstate()
	}
	if err == nil {
		err = unix.Exec(args[1], args[1:], os.Environ())
	}
	fmt.Fprintf(os.Stderr, "%sstart %s: %v\n", agentPrefix, args[1], err)
	os.Exit(1)
}

// startKeeper starts the keeper, with nothing but the lifeline: the end of the
// guest shows on its other files.
func startKeeper() error {
	guests := []int{0, 1, 2, fdLink, fdInitrd}
	for _, fd := range append(guests, fdLifeline) {
		unix.CloseOnExec(fd)
	}
	_, err := syscall.ForkExec("/proc/self/exe", []string{keeperName}, &syscall.ProcAttr{Files: []uintptr{fdLifeline}})
	if err != nil {
		return fmt.Errorf("%s: %w", keeperName, err)
	}
	for _, fd := range guests {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return err
		}
	}
	return nil
}

// keep is the keeper. Its standard input is the lifeline, to which nothing is
// ever written.
func keep([]string) {
	os.Stdin.Read(make([]byte, 1))
	unix.Kill(0, unix.SIGKILL)
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
