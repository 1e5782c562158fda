package lab

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestConfigCheck(t *testing.T) {
	args := []string{"true"}
	share := Share{Tag: "t", Socket: "/s"}
	tests := []struct {
		cfg  Config
		want string // "" for none
	}{
		{Config{Args: args}, ""},
		{Config{Args: args, Kind: QEMU, CPUs: 4, RequestQueues: 3, QueueSize: 128}, ""},
		{Config{Root: &share, Init: "/sbin/init"}, ""},
		{Config{}, "no command"},
		{Config{Args: args, Kind: 7}, "unknown kind of guest Kind(7)"},
		{Config{Args: args, MemoryMiB: 10}, "10 MiB"},
		{Config{Args: args, CPUs: 2}, "one processor"},
		{Config{Args: args, RequestQueues: 2}, "number of request queues"},
		{Config{Args: args, Kind: QEMU, QueueSize: 100}, "queue size 100"},
		{Config{Args: args, Kind: QEMU, RequestQueues: 2000}, "2000 request queues"},
		{Config{Args: args, Kind: QEMU, CPUs: -1}, "-1 processors"},
		{Config{Init: "/init"}, "without a root"},
		{Config{Root: &share, Init: "/init", Args: args}, "both an init and a command"},
		{Config{Root: &share, Init: "init"}, "no absolute path"},
		{Config{Args: args, Reboots: -1}, "-1 reboots"},
		{Config{Args: args, Reboots: 1, Stdin: strings.NewReader("")}, "cannot have an input"},
		{Config{Args: args, Shares: []Share{{Socket: "/s"}}}, "tag"},
		{Config{Args: args, Shares: []Share{{Tag: strings.Repeat("t", 37), Socket: "/s"}}}, "tag"},
		{Config{Args: args, Shares: []Share{{Tag: "t"}}}, "no socket"},
		{Config{Args: args, Shares: []Share{{Tag: "t", Socket: "/s", Dir: "mnt"}}}, "no absolute path"},
		{Config{Args: args, Shares: []Share{{Tag: "t", Socket: "/s:1"}}}, "no way to write"},
		{Config{Args: args, Kind: QEMU, Shares: []Share{{Tag: "t", Socket: "/s:1"}}}, ""},
		{Config{Args: args, Kind: QEMU, Shares: []Share{{Tag: "t,x", Socket: "/s"}}}, "no way to write"},
	}
	for _, test := range tests {
		cfg := test.cfg.withDefaults()
		err := cfg.check()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("check(%+v) = %v, want %q", test.cfg, err, test.want)
		}
	}
}

func TestParseKind(t *testing.T) {
	for _, kind := range []Kind{UML, QEMU} {
		if got, err := ParseKind(kind.String()); got != kind || err != nil {
			t.Errorf("ParseKind(%q) = %v, %v", kind.String(), got, err)
		}
	}
	if _, err := ParseKind("xen"); err == nil || !strings.Contains(err.Error(), "uml, qemu") {
		t.Errorf("ParseKind(xen): %v", err)
	}
}

func TestCompareVersions(t *testing.T) {
	ordered := []string{"6.1", "6.1.0-9-cloud", "6.1.0-56-cloud", "6.1.176", "6.9", "6.12.8", "6.13", "7.2"}
	for i, a := range ordered {
		for j, b := range ordered {
			got := compareVersions(a, b)
			if got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("compareVersions(%s, %s) = %d", a, b, got)
			}
		}
	}
}

// TestFindMissing takes each tool away and wants to be told its package.
func TestFindMissing(t *testing.T) {
	empty := t.TempDir()
	tests := []struct {
		kind     Kind
		env, val string
		want     string
	}{
		{UML, EnvUMLModules, empty, "user-mode-linux"},
		{QEMU, EnvKernelModules, empty, kernelPackage},
		{QEMU, EnvKernel, filepath.Join(empty, "vmlinuz-1"), kernelPackage},
	}
	for _, test := range tests {
		t.Run(test.env, func(t *testing.T) {
			t.Setenv(test.env, test.val)
			_, err := Find(test.kind)
			var missing *MissingError
			if !errors.As(err, &missing) || missing.Package != test.want || !strings.Contains(err.Error(), "apt install "+test.want) {
				t.Errorf("error %v, want a MissingError that names %s", err, test.want)
			}
		})
	}
	for _, env := range []string{EnvUML, EnvBusybox} {
		t.Run(env, func(t *testing.T) {
			t.Setenv(env, "/no/such/file")
			if _, err := Find(UML); err == nil || !strings.HasPrefix(err.Error(), env+": ") {
				t.Errorf("error %v, want one that names %s", err, env)
			}
		})
	}
	if _, err := findProgram("ISTHMUS_NO_SUCH", "no-such-program", "X", "pkg"); err == nil || !strings.Contains(err.Error(), "apt install pkg") {
		t.Errorf("error %v", err)
	}
}

func TestSplitOptions(t *testing.T) {
	flags, data := splitOptions("ro,,nosuid,dax=always,rw,rootmode=040000")
	if flags != unix.MS_RDONLY|unix.MS_NOSUID || data != "dax=always,rootmode=040000" {
		t.Errorf("splitOptions = %#x, %q", flags, data)
	}
}

func TestRootFlags(t *testing.T) {
	for options, want := range map[string]string{"": "rw", "ro": "ro", "ro,dax,x=y": "ro rootflags=dax,x=y"} {
		if got := rootFlags(&Share{Options: options}); got != want {
			t.Errorf("rootFlags(%q) = %q, want %q", options, got, want)
		}
	}
}

func TestConsole(t *testing.T) {
	var seen strings.Builder
	c := console{to: &seen}
	for range 1000 {
		io.WriteString(&c, "a line that fills the memory\r\n\r\n")
	}
	io.WriteString(&c, "\x1b[1mKernel panic - not syncing: Attempted to kill init!\r\nmmapper_init - find_iomem failed\r\nlast")
	if got, want := c.lines(2), []string{"[1mKernel panic - not syncing: Attempted to kill init!", "last"}; !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
	if len(c.tail) > consoleKept || seen.Len() < 30000 {
		t.Errorf("kept %d bytes and passed on %d", len(c.tail), seen.Len())
	}
	if got := c.reason(); got != "the guest kernel panicked: Attempted to kill init!" {
		t.Errorf("reason %q", got)
	}
	io.WriteString(&c, "\n"+agentPrefix+"load module x: no\n")
	if got := c.reason(); got != "load module x: no" {
		t.Errorf("reason %q", got)
	}
}

// TestProcessGroup ends a program that has started others.
func TestProcessGroup(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & sleep 1000 & echo up")
	cmd.Stdout = w
	p, err := startProcess(cmd, false)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	<-p.ended
	// The end of the pipe says that nobody holds its other side.
	if text, err := io.ReadAll(r); string(text) != "up\n" || err != nil {
		t.Errorf("read %q, %v", text, err)
	}
	p.stop()
	if !p.state.Success() {
		t.Errorf("ended with %v", p.state)
	}
	if _, err := startProcess(exec.Command("/no/such/program"), false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that does not exist: %v", err)
	}
}

// TestRefuseXstate has the filter in a thread of its own that ends with it.
func TestRefuseXstate(t *testing.T) {
	ptrace := func(request, set uintptr) error {
		// Of a process that is not traced: ESRCH without the filter.
		_, _, errno := unix.Syscall6(unix.SYS_PTRACE, request, uintptr(os.Getpid()), set, 0, 0, 0)
		return errno
	}
	type results struct{ before, after, other, set, filter error }
	done := make(chan results)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends
		var r results
		r.before = ptrace(unix.PTRACE_GETREGSET, ntX86Xstate)
		r.filter = refuseXstate()
		r.after = ptrace(unix.PTRACE_GETREGSET, ntX86Xstate)
		r.other = ptrace(unix.PTRACE_GETREGSET, 1)
		r.set = ptrace(unix.PTRACE_SETREGSET, ntX86Xstate)
		done <- r
	}()
	r := <-done
	if r.filter != nil || r.before != unix.ESRCH || r.after != unix.ENODEV || r.other != unix.ESRCH || r.set != unix.ESRCH {
		t.Errorf("%+v, want ENODEV after the filter, for this request only, and ESRCH otherwise", r)
	}
}

func TestSignalFrame(t *testing.T) {
	if got := signalFrame(); got < 512 || got > 1<<20 {
		t.Errorf("a signal frame of %d bytes", got)
	}
	if LacksAVX("6.13") || LacksAVX("7.2") {
		t.Error("a new User-Mode Linux lacks AVX")
	}
}
