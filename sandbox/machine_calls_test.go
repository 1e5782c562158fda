//go:build !cgo

package sandbox

import (
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// where a call is allowed.
type where uint8

const (
	inProcess where = 1 << iota
	inVCPU
	inDevice

	nowhere    where = 0
	everywhere       = inProcess | inVCPU | inDevice
)

type machineCallTest struct {
	name    string
	call    call
	allowed where
}

// machineCallTests are calls with arguments with which they do nothing but fail, or nothing
// that matters.
var machineCallTests = []machineCallTest{
	{"read", native(unix.SYS_READ, badFD), everywhere},
	{"writev", native(unix.SYS_WRITEV, badFD), everywhere},
	{"ppoll", native(unix.SYS_PPOLL, 0, 1<<20), everywhere},
	{"pwritev2", native(unix.SYS_PWRITEV2, badFD), everywhere},
	{"eventfd2", native(unix.SYS_EVENTFD2, 0, 1<<20), everywhere},
	{"mmap", native(unix.SYS_MMAP, 0, 0, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS), everywhere},
	{"futex", native(unix.SYS_FUTEX), everywhere},
	{"getpid", native(unix.SYS_GETPID), everywhere},

	{"openat", native(unix.SYS_OPENAT, badFD), inProcess | inVCPU},
	{"openat2", native(unix.SYS_OPENAT2, badFD), inProcess | inVCPU},
	{"unlinkat", native(unix.SYS_UNLINKAT, badFD), inProcess | inVCPU},
	{"mkdirat", native(unix.SYS_MKDIRAT, badFD), inProcess | inVCPU},
	{"ftruncate", native(unix.SYS_FTRUNCATE, badFD), inProcess | inVCPU},
	{"getdents64", native(unix.SYS_GETDENTS64, badFD), inProcess | inVCPU},
	{"fchmodat", native(unix.SYS_FCHMODAT, badFD), inProcess | inVCPU},
	{"fremovexattr", native(unix.SYS_FREMOVEXATTR, badFD), inProcess | inVCPU},
	{"KVM_RUN", native(unix.SYS_IOCTL, badFD, 0xae80), inProcess | inVCPU},
	{"KVM_SET_SREGS", native(unix.SYS_IOCTL, badFD, 0x4138ae84), inProcess | inVCPU},
	{"KVM_IRQFD", native(unix.SYS_IOCTL, badFD, 0x4020ae76), inProcess | inVCPU},

	{"clone", native(unix.SYS_CLONE, threadFlags), inProcess},
	{"seccomp", native(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER), inProcess},
	{"pin", native(unix.SYS_SCHED_SETAFFINITY), inProcess},

	{"fchownat", native(unix.SYS_FCHOWNAT, badFD), nowhere},
	{"utimensat", native(unix.SYS_UTIMENSAT, badFD), nowhere},
	{"fsetxattr", native(unix.SYS_FSETXATTR, badFD), nowhere},
	{"renameat2", native(unix.SYS_RENAMEAT2, badFD), nowhere},
	{"linkat", native(unix.SYS_LINKAT, badFD), nowhere},
	{"symlinkat", native(unix.SYS_SYMLINKAT, 0, badFD), nowhere},
	{"mknodat", native(unix.SYS_MKNODAT, badFD), nowhere},
	{"open_by_handle_at", native(unix.SYS_OPEN_BY_HANDLE_AT, badFD), nowhere},
	{"memfd_create", native(unix.SYS_MEMFD_CREATE), nowhere},
	{"accept4", native(unix.SYS_ACCEPT4, badFD), nowhere},
	{"setsockopt", native(unix.SYS_SETSOCKOPT, badFD, unix.IPPROTO_TCP, unix.TCP_NODELAY), nowhere},
	{"sendmsg", native(unix.SYS_SENDMSG, badFD), nowhere},
	{"socket", native(unix.SYS_SOCKET, 1<<20), nowhere},
	{"connect", native(unix.SYS_CONNECT, badFD), nowhere},
	{"execve", native(unix.SYS_EXECVE), nowhere},
	{"execveat", native(unix.SYS_EXECVEAT, badFD), nowhere},
	{"fork", native(unix.SYS_FORK), nowhere},
	{"clone3", native(unix.SYS_CLONE3), nowhere},
	{"ptrace", native(unix.SYS_PTRACE, unix.PTRACE_ATTACH, badFD), nowhere},
	{"process_vm_readv", native(unix.SYS_PROCESS_VM_READV, badFD), nowhere},
	{"kill another", native(unix.SYS_KILL, 1), nowhere},
	{"mmap to run", native(unix.SYS_MMAP, 0, 0, unix.PROT_READ|unix.PROT_EXEC), nowhere},
	{"mprotect to run", native(unix.SYS_MPROTECT, 0, 0, unix.PROT_EXEC), nowhere},
	{"pin another", native(unix.SYS_SCHED_SETAFFINITY, 1), nowhere},
	{"seccomp with a listener", native(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER), nowhere},
	{"io_uring_setup", native(unix.SYS_IO_URING_SETUP), nowhere},
	{"KVM_CREATE_VM", native(unix.SYS_IOCTL, badFD, 0xae01), nowhere},
	{"KVM_CREATE_VCPU", native(unix.SYS_IOCTL, badFD, 0xae41), nowhere},
	{"KVM_SET_USER_MEMORY_REGION", native(unix.SYS_IOCTL, badFD, 0x4020ae46), nowhere},
	{"TUNSETOFFLOAD", native(unix.SYS_IOCTL, badFD, unix.TUNSETOFFLOAD), nowhere},
	{"TUNSETIFF", native(unix.SYS_IOCTL, badFD, unix.TUNSETIFF), nowhere},
	{"TIOCSTI", native(unix.SYS_IOCTL, badFD, unix.TIOCSTI), nowhere},
}

const badFD = 1<<32 - 1

// machineOptionTests are what else is allowed by an option.
var machineOptionTests = []struct {
	name    string
	cfg     MachineConfig
	allowed map[string]where
}{
	{"nothing", MachineConfig{}, nil},
	{"Net", MachineConfig{Net: true}, map[string]where{"TUNSETOFFLOAD": everywhere}},
	{"GDB", MachineConfig{GDB: true}, map[string]where{"accept4": inProcess, "setsockopt": inProcess}},
	{"MemoryFiles", MachineConfig{MemoryFiles: true}, map[string]where{"memfd_create": inProcess}},
}

func TestMachineFilters(t *testing.T) {
	for _, opt := range machineOptionTests {
		f, err := machineFilters(&opt.cfg, ownPid)
		if err != nil {
			t.Fatal(err)
		}
		programs := map[where][]unix.SockFilter{inProcess: f.process, inVCPU: f.threads[RoleVCPU], inDevice: f.threads[RoleDevice]}
		for _, tt := range machineCallTests {
			allowed := tt.allowed | opt.allowed[tt.name]
			for at, program := range programs {
				want := uint32(unix.SECCOMP_RET_KILL_PROCESS)
				if allowed&at != 0 {
					want = unix.SECCOMP_RET_ALLOW
				}
				if action, _ := run(t, program, tt.call); action != want {
					t.Errorf("with %s, %s, at %d: %#x, want %#x", opt.name, tt.name, at, action, want)
				}
			}
		}
		for _, groups := range [][]callGroup{
			machineGroups(&opt.cfg, ownPid), threadGroups(&opt.cfg, RoleVCPU, ownPid), threadGroups(&opt.cfg, RoleDevice, ownPid),
		} {
			seen := map[uint32]bool{}
			for _, g := range groups {
				for _, nr := range g.plain {
					if seen[nr] {
						t.Errorf("%s: call %d is listed twice", g.why, nr)
					}
					seen[nr] = true
				}
				for nr := range g.checked {
					if seen[nr] {
						t.Errorf("%s: call %d is listed twice", g.why, nr)
					}
					seen[nr] = true
				}
			}
		}
	}
}

// A thread has nothing that its process has not: the kernel asks both filters.
func TestThreadsAreWithinTheirProcess(t *testing.T) {
	cfg := &MachineConfig{Net: true, GDB: true}
	f, err := machineFilters(cfg, ownPid)
	if err != nil {
		t.Fatal(err)
	}
	for role, program := range f.threads {
		for nr := range uint32(1024) {
			if got, _ := run(t, program, native(nr)); got == unix.SECCOMP_RET_ALLOW {
				if got, _ := run(t, f.process, native(nr)); got != unix.SECCOMP_RET_ALLOW {
					t.Errorf("call %d is for a %s, not for the process", nr, Role(role))
				}
			}
		}
	}
}

// probeMachineCall makes a call in the place that the job says, and first, if that is a
// thread with a role, shows that other threads are without its filter.
func probeMachineCall(cfg *MachineConfig, j *machineJob, a *machineAnswer) {
	i := must(strconv.Atoi(j.Arg))
	attempt := func() string {
		c := machineCallTests[i].call
		_, _, errno := syscall.RawSyscall6(uintptr(c.nr), uintptr(c.args[0]), uintptr(c.args[1]), uintptr(c.args[2]),
			uintptr(c.args[3]), uintptr(c.args[4]), uintptr(c.args[5]))
		if errno == 0 {
			return "ok"
		}
		return unix.ErrnoName(errno)
	}
	if j.Role == "" {
		a.Tried["it"] = attempt()
		return
	}
	role := roleNamed(j.Role)
	locked, besides, result := make(chan bool), make(chan bool), make(chan string)
	go func() {
		runtime.LockOSThread()
		if err := cfg.LockThread(role); err != nil {
			panic(err)
		}
		locked <- true
		<-besides
		result <- attempt()
	}()
	<-locked
	var set unix.CPUSet
	a.Tried["besides"] = tryTo(unix.SchedGetaffinity(0, &set))
	if a.Tried["besides"] == "ok" {
		a.Tried["besides"] = tryTo(unix.SchedSetaffinity(0, &set))
	}
	besides <- true
	a.Tried["it"] = <-result
}

func roleNamed(name string) Role {
	for role := range Role(roles) {
		if role.String() == name {
			return role
		}
	}
	panic(name)
}

// The kernel does with these filters what TestMachineFilters says.
func TestMachineCalls(t *testing.T) {
	killed := func(s syscall.WaitStatus) bool { return s.Signaled() && s.Signal() == unix.SIGSYS }
	for i, tt := range machineCallTests {
		if tt.name == "clone" || tt.name == "seccomp" {
			continue // where they are allowed, they are more than a try
		}
		for at, role := range map[where]string{inProcess: "", inVCPU: RoleVCPU.String(), inDevice: RoleDevice.String()} {
			a, log, status := machineJob{Probe: "call", Arg: fmt.Sprint(i), Role: role, Isolation: IsolationNone}.run(t)
			if tt.allowed&at == 0 {
				if !killed(status) {
					t.Errorf("%s by %q: status %#x, result %v; want to be killed", tt.name, role, status, a.Tried)
				}
				continue
			}
			if status != 0 || a.Failed != "" || a.Tried["it"] == "" || a.Tried["it"] == "ENOSYS" {
				t.Errorf("%s by %q: status %#x, %+v; want to be let through\n%s", tt.name, role, status, a, log)
			}
			if role != "" && a.Tried["besides"] != "ok" {
				t.Errorf("besides a %s, a thread without a role: %s", role, a.Tried["besides"])
			}
		}
	}
}

// TestMachineActions: what happens to a call that is not on the list is one choice for
// the process and its threads.
func TestMachineActions(t *testing.T) {
	for _, role := range []string{"", RoleVCPU.String(), RoleDevice.String()} {
		j := machineJob{Probe: "call", Arg: callNamed("socket"), Role: role, Isolation: IsolationNone}
		for _, action := range []Action{SeccompLog, SeccompNone} {
			j.Seccomp = action
			if a, _, status := j.run(t); status != 0 || a.Tried["it"] != "EAFNOSUPPORT" {
				t.Errorf("%s, %q: status %#x, %+v", action, role, status, a)
			}
		}
		j.Seccomp = SeccompTrap
		if _, log, status := j.run(t); status.ExitStatus() != 2 || !strings.Contains(log, "SIGSYS: bad system call") {
			t.Errorf("trap, %q: status %#x\n%s", role, status, log)
		}
	}
}

// The numbers of KVM's calls are those of the kernel's headers.
func TestKVMCommands(t *testing.T) {
	source, err := os.ReadFile("machine_calls.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?m)^\t(0x[0-9a-f]+), +// (KVM_[A-Z0-9_]+)$`).FindAllStringSubmatch(string(source), -1)
	if len(named) != len(kvmCommands) {
		t.Fatalf("%d of %d commands have a name", len(named), len(kvmCommands))
	}
	program := "#include <linux/kvm.h>\n#include <stdio.h>\nint main(void) {\n"
	for _, n := range named {
		program += fmt.Sprintf("printf(\"%%#lx %s\\n\", (unsigned long)%s);\n", n[2], n[2])
	}
	dir := t.TempDir()
	file, binary := filepath.Join(dir, "commands.c"), filepath.Join(dir, "commands")
	if err := os.WriteFile(file, []byte(program+"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cc", "-o", binary, file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, n := range named {
		if want := n[1] + " " + n[2]; lines[i] != want {
			t.Errorf("%s in the headers, %s here", lines[i], want)
		}
		if want := fmt.Sprintf("%#x", kvmCommands[i]); n[1] != want {
			t.Errorf("command %d is %s, not %s", i, want, n[1])
		}
	}
}

// probeMachineDebug is a server for a debugger.
func probeMachineDebug(_ *MachineConfig, j *machineJob, a *machineAnswer) {
	c := must(j.Listener.Accept())
	must(j.Debugger.Write([]byte("to")))
	must(c.Write([]byte("fro")))
	c.SetDeadline(time.Now().Add(time.Minute))
	got, answer := make([]byte, 2), make([]byte, 3)
	must(io.ReadFull(c, got))
	must(io.ReadFull(j.Debugger, answer))
	a.Tried["debugger"] = fmt.Sprintf("%s %t %s %v %v", got, c.RemoteAddr() != nil, answer, c.Close(), j.Listener.Close())
}

func TestMachineDebugger(t *testing.T) {
	a, log, status := machineJob{Probe: "debug", GDB: true}.run(t)
	if want := "to true fro <nil> <nil>"; a.Tried["debugger"] != want {
		t.Errorf("status %#x, %+v, want %s\n%s", status, a, want, log)
	}
	if _, _, status := (machineJob{Probe: "call", Arg: callNamed("accept4")}).run(t); status.Signal() != unix.SIGSYS {
		t.Errorf("without GDB, accept4: status %#x", status)
	}
}

// callNamed is the argument of probeMachineCall for a call.
func callNamed(name string) string {
	return fmt.Sprint(slices.IndexFunc(machineCallTests, func(c machineCallTest) bool { return c.name == name }))
}

// probeMachinePanic ends in the way that programs do.
func probeMachinePanic(cfg *MachineConfig, j *machineJob, _ *machineAnswer) {
	go func() {
		runtime.LockOSThread()
		if err := cfg.LockThread(roleNamed(j.Role)); err != nil {
			panic(err)
		}
		panic("as it should")
	}()
	select {}
}

// TestThreadCrashesAreReported: a thread that dies under its filter still says of what.
func TestThreadCrashesAreReported(t *testing.T) {
	for role := range Role(roles) {
		_, log, status := machineJob{Probe: "panic", Role: role.String()}.run(t)
		if status.ExitStatus() != 2 || !strings.Contains(log, "panic: as it should") {
			t.Errorf("%s: status %#x\n%s", role, status, log)
		}
	}
}

// probeMachineCost measures KVM_RUN up to where the kernel finds that there is no machine.
func probeMachineCost(cfg *MachineConfig, _ *machineJob, a *machineAnswer) {
	const rounds, calls = 20, 20000
	best := func() string {
		least := time.Duration(math.MaxInt64)
		for range rounds {
			start := time.Now()
			for range calls {
				syscall.RawSyscall(unix.SYS_IOCTL, badFD, 0xae80, 0)
			}
			least = min(least, time.Since(start))
		}
		return fmt.Sprint(float64(least.Nanoseconds()) / calls)
	}
	runtime.LockOSThread()
	a.Tried["process"] = best()
	if err := cfg.LockThread(RoleVCPU); err != nil {
		panic(err)
	}
	a.Tried["thread"] = best()
}

// BenchmarkMachineFilter measures what the filters add to KVM_RUN.
func BenchmarkMachineFilter(b *testing.B) {
	measure := func(action Action, at string) (ns float64) {
		a, log, _ := machineJob{Probe: "cost", Seccomp: action}.run(b)
		ns, err := strconv.ParseFloat(a.Tried[at], 64)
		if err != nil {
			b.Fatalf("%v: %+v\n%s", err, a, log)
		}
		return ns
	}
	for b.Loop() {
		plain := measure(SeccompNone, "process")
		b.ReportMetric(plain, "ns/unfiltered")
		b.ReportMetric(measure(SeccompKill, "process")-plain, "ns/process-filter")
		b.ReportMetric(measure(SeccompKill, "thread")-plain, "ns/both-filters")
	}
}
