//go:build !cgo

package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// machineJob is a machine's process to be closed in, and what it does then.
type machineJob struct {
	Probe                 string // of machineProbes
	Arg                   string
	Role                  string // of the thread that the probe is about: "", or the name of a Role
	Isolation             Isolation
	Shares                []Share
	Removals              []string
	Net, GDB, MemoryFiles bool
	Seccomp               Action
	// ABI stands in for the version of Landlock: 0 is the kernel's own, below are none.
	ABI int
	// Pipes are made before the process is closed in.
	Pipes [stressDevices][2]int `json:"-"`
	// Listener is made before too, for GDB, and Debugger has connected to it.
	Listener net.Listener `json:"-"`
	Debugger net.Conn     `json:"-"`
}

// machineAnswer is what it says.
type machineAnswer struct {
	Layers []string
	Failed string            // the error of LockMachine
	Tried  map[string]string // results by attempt
}

var machineProbes = map[string]func(cfg *MachineConfig, j *machineJob, a *machineAnswer){
	"lock":   func(*MachineConfig, *machineJob, *machineAnswer) {},
	"files":  probeMachineFiles,
	"call":   probeMachineCall,
	"panic":  probeMachinePanic,
	"debug":  probeMachineDebug,
	"cost":   probeMachineCost,
	"stress": probeMachineStress,
}

const envMachine = "SANDBOX_TEST_MACHINE"

func init() {
	spec := os.Getenv(envMachine)
	if spec == "" {
		return
	}
	var j machineJob
	if err := json.Unmarshal([]byte(spec), &j); err != nil {
		panic(err)
	}
	cfg := &MachineConfig{
		Isolation: j.Isolation, Shares: j.Shares, Net: j.Net, GDB: j.GDB, MemoryFiles: j.MemoryFiles,
		Seccomp: j.Seccomp, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	if j.ABI != 0 {
		cfg.abi = func() (int, error) {
			if j.ABI < 0 {
				return 0, unix.ENOSYS
			}
			return j.ABI, nil
		}
	}
	for _, dir := range j.Removals {
		cfg.Removals = append(cfg.Removals, must(os.Open(dir)))
	}
	for i := range j.Pipes {
		if err := unix.Pipe2(j.Pipes[i][:], unix.O_CLOEXEC); err != nil {
			panic(err)
		}
	}
	if j.GDB {
		j.Listener = must(net.Listen("tcp4", "127.0.0.1:0"))
		j.Debugger = must(net.Dial("tcp4", j.Listener.Addr().String()))
	}
	a := machineAnswer{Tried: map[string]string{}}
	before := machineBefore()
	var err error
	if a.Layers, err = LockMachine(cfg); err != nil {
		a.Failed = err.Error()
	} else {
		before(&a)
		machineProbes[j.Probe](cfg, &j, &a)
	}
	b, _ := json.Marshal(a)
	os.Stdout.Write(b)
	os.Exit(0)
}

// machineBefore prepares what is about threads and files from before. The answer
// has the results of what only they can show.
func machineBefore() func(a *machineAnswer) {
	null := must(unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0))
	const threads = 4
	ready, locked, results := make(chan bool), make(chan bool), make(chan string)
	for range threads {
		go func() {
			runtime.LockOSThread()
			ready <- true
			<-locked
			results <- tryOpen(unix.AT_FDCWD, "/etc/passwd", unix.O_RDONLY)
		}()
		<-ready
	}
	return func(a *machineAnswer) {
		close(locked)
		var all []string
		for range threads {
			all = append(all, <-results)
		}
		slices.Sort(all)
		a.Tried["open from threads of before"] = strings.Join(slices.Compact(all), " ")
		a.Tried["device from before"] = "not asked"
		if !slices.ContainsFunc(a.Layers, func(l string) bool { return strings.HasPrefix(l, "seccomp") }) {
			a.Tried["device from before"] = tryDevice(null)
		}
	}
}

// tryDevice asks a device for what /dev/null does not have: ENOTTY says that it was asked.
func tryDevice(fd int) string {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return tryTo(err)
}

// run has a process do a job to its end.
func (j machineJob) run(tb testing.TB) (a machineAnswer, stderr string, status syscall.WaitStatus) {
	tb.Helper()
	spec, err := json.Marshal(j)
	if err != nil {
		tb.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envMachine+"="+string(spec))
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		tb.Fatal(err)
	}
	status = cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Exited() && status.ExitStatus() == 0 {
		if err := json.Unmarshal(out.Bytes(), &a); err != nil {
			tb.Fatalf("%v: %s%s", err, &out, &errs)
		}
	}
	return a, errs.String(), status
}
