//go:build !cgo

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// call is what a filter sees of a system call.
type call struct {
	nr, arch uint32
	args     [6]uint64
}

// run executes a filter as the kernel does, and tells whether it has looked at the
// arguments. Then the kernel has to run it for each call anew.
func run(t *testing.T, program []unix.SockFilter, c call) (action uint32, looked bool) {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(program); pc++ {
		in := program[pc]
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			switch {
			case in.K == dataNr:
				a = c.nr
			case in.K == dataArch:
				a = c.arch
			default:
				looked = true
				arg := c.args[(in.K-dataArgs)/8]
				a = uint32(arg >> (8 * (in.K % 8)))
			}
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if a == in.K {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return in.K, looked
		default:
			t.Fatalf("instruction %d: %#v", pc, in)
		}
	}
	t.Fatal("the filter has no end")
	return 0, false
}

func filter(t *testing.T, cfg *Config) []unix.SockFilter {
	t.Helper()
	program, err := seccompProgram(cfg, ownPid)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

const ownPid = 4321

func native(nr uint32, args ...uint64) call {
	c := call{nr: nr, arch: unix.AUDIT_ARCH_X86_64}
	copy(c.args[:], args)
	return c
}

func TestFilterLooksAtArguments(t *testing.T) {
	program := filter(t, &Config{})
	const high = 1 << 32
	for _, tt := range []struct {
		name    string
		call    call
		allowed bool
	}{
		{"thread", native(unix.SYS_CLONE, threadFlags), true},
		{"fork", native(unix.SYS_CLONE, uint64(unix.SIGCHLD)), false},
		{"thread in a namespace", native(unix.SYS_CLONE, threadFlags|unix.CLONE_NEWUSER), false},
		{"thread with a high bit", native(unix.SYS_CLONE, threadFlags|high), false},
		{"clone3", native(unix.SYS_CLONE3), false},
		{"unshare fs", native(unix.SYS_UNSHARE, unix.CLONE_FS), true},
		{"unshare more", native(unix.SYS_UNSHARE, unix.CLONE_FS|unix.CLONE_NEWNS), false},
		{"mmap", native(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_WRITE), true},
		{"mmap to run", native(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_EXEC), false},
		{"mprotect", native(unix.SYS_MPROTECT, 0, 4096, unix.PROT_READ|unix.PROT_EXEC), false},
		{"name a mapping", native(unix.SYS_PRCTL, unix.PR_SET_VMA, unix.PR_SET_VMA_ANON_NAME), true},
		{"be dumpable", native(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1), false},
		{"own thread", native(unix.SYS_TGKILL, ownPid, 7, 6), true},
		{"another's thread", native(unix.SYS_TGKILL, 1, 1, 6), false},
		{"kill oneself", native(unix.SYS_KILL, ownPid, 6), true},
		{"kill all", native(unix.SYS_KILL, uint64(1<<64-1), 9), false},
		{"open-file lock", native(unix.SYS_FCNTL, 3, unix.F_OFD_SETLKW), true},
		{"signals to another", native(unix.SYS_FCNTL, 3, unix.F_SETOWN), false},
		{"get flags", native(unix.SYS_IOCTL, 3, unix.FS_IOC_GETFLAGS), true},
		{"type for a terminal", native(unix.SYS_IOCTL, 0, unix.TIOCSTI), false},
		{"type for a terminal, high bit", native(unix.SYS_IOCTL, 0, unix.TIOCSTI|high), false},
		{"read a limit", native(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, 0, 4096), true},
		{"set a limit", native(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, 4096), false},
		{"set a limit, high pointer", native(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, high), false},
		{"a limit of another", native(unix.SYS_PRLIMIT64, 1, unix.RLIMIT_NOFILE, 0, 4096), false},
		{"by handle, which is not configured", native(unix.SYS_OPEN_BY_HANDLE_AT), false},
		{"x32 write", native(1<<30 | unix.SYS_WRITE), false},
		{"32-bit write", call{nr: 4, arch: unix.AUDIT_ARCH_I386}, false},
	} {
		action, _ := run(t, program, tt.call)
		want := uint32(unix.SECCOMP_RET_KILL_PROCESS)
		if tt.allowed {
			want = unix.SECCOMP_RET_ALLOW
		}
		if action != want {
			t.Errorf("%s: %#x, want %#x", tt.name, action, want)
		}
	}
	if action, _ := run(t, filter(t, &Config{FileHandles: true}), native(unix.SYS_OPEN_BY_HANDLE_AT)); action != unix.SECCOMP_RET_ALLOW {
		t.Errorf("open_by_handle_at with file handles: %#x", action)
	}
}

// TestFilterOfEachAction goes through all numbers: those on the list are allowed, at
// once or after a look at their arguments, and all others get the action.
func TestFilterOfEachAction(t *testing.T) {
	for action, want := range map[Action]uint32{
		SeccompKill: unix.SECCOMP_RET_KILL_PROCESS,
		SeccompLog:  unix.SECCOMP_RET_LOG,
		SeccompTrap: unix.SECCOMP_RET_TRAP,
	} {
		cfg := &Config{Seccomp: action, FileHandles: true}
		program := filter(t, cfg)
		plain, checked := map[uint32]bool{}, map[uint32]bool{}
		for _, g := range callGroups(cfg, ownPid) {
			for _, nr := range g.plain {
				if plain[nr] {
					t.Errorf("%s: call %d is listed twice", g.why, nr)
				}
				plain[nr] = true
			}
			for nr := range g.checked {
				if plain[nr] || checked[nr] {
					t.Errorf("%s: call %d is listed twice", g.why, nr)
				}
				checked[nr] = true
			}
		}
		for nr := range uint32(1024) {
			got, looked := run(t, program, native(nr, 1<<63, 1<<63, 1<<63|unix.PROT_EXEC))
			switch {
			case plain[nr] && (got != unix.SECCOMP_RET_ALLOW || looked):
				t.Errorf("%s: call %d: %#x, looked at arguments: %t", action, nr, got, looked)
			case !plain[nr] && got != want:
				t.Errorf("%s: call %d: %#x, want %#x", action, nr, got, want)
			}
		}
		if got, _ := run(t, program, call{nr: unix.SYS_READ, arch: unix.AUDIT_ARCH_I386}); got != unix.SECCOMP_RET_KILL_PROCESS {
			t.Errorf("%s: a 32-bit call: %#x", action, got)
		}
	}
	if _, err := seccompProgram(&Config{Seccomp: SeccompNone + 1}, ownPid); err == nil {
		t.Error("no error for an unknown action")
	}
}

// filtered are what a process with a filter does, by name.
var filtered = map[string]func(){
	"panic": func() { panic("as it should") },
	"nil":   func() { var p *int; *p = 1 },
	"elsewhere": func() {
		go panic("in another goroutine")
		select {}
	},
	"abort": func() { unix.Kill(os.Getpid(), unix.SIGABRT); select {} },
	"uname": func() { fmt.Println(unix.Uname(&unix.Utsname{})) },
	"cost":  printCost,
}

const envFiltered = "SANDBOX_TEST_FILTERED"

func init() {
	name, action, ok := strings.Cut(os.Getenv(envFiltered), " ")
	if !ok {
		return
	}
	n, err := strconv.Atoi(action)
	if err == nil {
		err = applySeccomp(&Config{Seccomp: Action(n)})
	}
	if err != nil {
		panic(err)
	}
	filtered[name]()
	os.Exit(0)
}

// filteredProcess runs one of them to its end.
func filteredProcess(tb testing.TB, name string, action Action) (out string, status syscall.WaitStatus) {
	tb.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", envFiltered, name, action))
	b, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		tb.Fatal(err)
	}
	return string(b), cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// TestCrashesAreReported: a program that dies in the sandbox still says of what.
func TestCrashesAreReported(t *testing.T) {
	for _, tt := range []struct {
		name   string
		action Action
		want   string // in the output
		exit   int
		signal syscall.Signal
	}{
		{name: "panic", want: "panic: as it should", exit: 2},
		{name: "nil", want: "nil pointer dereference", exit: 2},
		{name: "elsewhere", want: "panic: in another goroutine", exit: 2},
		{name: "abort", want: "SIGABRT: abort", exit: 2},
		{name: "uname", signal: unix.SIGSYS},
		{name: "uname", action: SeccompTrap, want: "SIGSYS: bad system call", exit: 2},
		{name: "uname", action: SeccompLog, want: "<nil>"},
		{name: "uname", action: SeccompNone, want: "<nil>"},
	} {
		out, status := filteredProcess(t, tt.name, tt.action)
		if !strings.Contains(out, tt.want) {
			t.Errorf("%s with %s: %q is not in the output:\n%s", tt.name, tt.action, tt.want, out)
		}
		if tt.signal != 0 && status.Signal() != tt.signal || tt.signal == 0 && status.ExitStatus() != tt.exit {
			t.Errorf("%s with %s: status %#x", tt.name, tt.action, status)
		}
	}
}

// printCost prints how long a call without a rule and one with a rule take, in
// nanoseconds.
func printCost() {
	const rounds, calls = 20, 20000
	best := func(f func()) float64 {
		var times []time.Duration
		for range rounds {
			start := time.Now()
			for range calls {
				f()
			}
			times = append(times, time.Since(start))
		}
		return float64(slices.Min(times).Nanoseconds()) / calls
	}
	plain := best(func() { syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0) })
	checked := best(func() { syscall.RawSyscall(unix.SYS_FCNTL, 0, unix.F_GETFD, 0) })
	fmt.Println(plain, checked)
}

// BenchmarkFilter measures what the filter adds to system calls: those without a
// rule, as all are that are made per request, and those with one.
func BenchmarkFilter(b *testing.B) {
	measure := func(action Action) (plain, checked float64) {
		out, _ := filteredProcess(b, "cost", action)
		if _, err := fmt.Sscan(out, &plain, &checked); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		return plain, checked
	}
	for b.Loop() {
		plain, checked := measure(SeccompNone)
		withPlain, withChecked := measure(SeccompKill)
		b.ReportMetric(withPlain-plain, "ns/call-without-rule")
		b.ReportMetric(withChecked-checked, "ns/call-with-rule")
		b.ReportMetric(plain, "ns/getpid-unfiltered")
	}
}
