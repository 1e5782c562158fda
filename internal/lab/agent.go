package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What marks the agent's own words on the guest's console: why the guest ends,
// and what it goes on in spite of.
const (
	agentPrefix  = "isthmus guest: "
	agentWarning = "isthmus guest, warning: "
)

// MaybeInit turns the process into the agent of a guest if it was started as
// one, which it knows by being process 1 under the agent's own path, or into
// one of the helpers that Run starts User-Mode Linux with. It then does not
// return. Otherwise it does nothing. A program that calls [Run] without naming
// another agent calls MaybeInit before anything else.
func MaybeInit() {
	if !IsInit(os.Getpid(), os.Args) {
		return
	}
	if helper, ok := helpers[os.Args[0]]; ok {
		helper(os.Args[1:])
	}
	a := &agent{bye: make(chan struct{})}
	if err := a.run(); err != nil {
		a.order.Reboot = false
		a.report(err)
	}
	a.powerOff()
}

// IsInit reports whether a process with this number and these arguments is
// one that [MaybeInit] takes over.
func IsInit(pid int, args []string) bool {
	if len(args) == 0 {
		return false
	}
	return pid == 1 && args[0] == agentPath || args[0] == keeperName || args[0] == launcherName && len(args) > 2
}

// agent is the first process of a guest.
type agent struct {
	link  *os.File
	in    frameReader
	out   frameWriter
	order start
	bye   chan struct{} // closed when the host has taken the last word
}

// run does all of the agent's work up to the last word to the host.
func (a *agent) run() error {
	if err := mountKernelFilesystems(); err != nil {
		return err
	}
	boot, err := readBootInfo()
	if err != nil {
		return err
	}
	for _, file := range boot.Modules {
		if err := loadModule(file); err != nil {
			return fmt.Errorf("load module %s: %w", file, err)
		}
	}
	if err := a.connect(boot.Link); err != nil {
		return fmt.Errorf("link to the host: %w", err)
	}
	if err := a.receiveOrder(); err != nil {
		return fmt.Errorf("link to the host: %w", err)
	}
	if err := a.mountShares(); err != nil {
		return err
	}
	if a.order.Init != "" {
		return a.becomeInit()
	}
	code, err := a.runCommand()
	if err != nil {
		return err
	}
	if code != 0 {
		a.order.Reboot = false
	}
	killEverything()
	a.unmountShares()
	text, err := json.Marshal(exit{Code: code})
	if err != nil {
		return err
	}
	return a.lastWord(frameExit, text)
}

// report tells the host what went wrong: over the link if there is one, on
// the console otherwise.
func (a *agent) report(err error) {
	if a.link != nil && a.lastWord(frameError, []byte(err.Error())) == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "\n%s%v\n", agentPrefix, err)
}

// lastWord sends the frame after which the guest goes down, and waits until
// the host has it.
func (a *agent) lastWord(t frameType, payload []byte) error {
	if err := a.out.send(t, payload); err != nil {
		return err
	}
	select {
	case <-a.bye:
	case <-time.After(10 * time.Second):
	}
	return nil
}

// powerOff ends the guest, or starts it over.
func (a *agent) powerOff() {
	unix.Sync()
	how := unix.LINUX_REBOOT_CMD_POWER_OFF
	if a.order.Reboot {
		how = unix.LINUX_REBOOT_CMD_RESTART
	}
	err := unix.Reboot(how)
	fmt.Fprintf(os.Stderr, "\n%sreboot: %v\n", agentPrefix, err)
	select {} // process 1 must not end; the host kills the guest
}

func readBootInfo() (boot bootInfo, err error) {
	text, err := os.ReadFile(bootPath)
	if err != nil {
		return boot, err
	}
	return boot, json.Unmarshal(text, &boot)
}

// loadModule loads one module file; one that is loaded already is fine.
func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return err
	}
	return nil
}

// connect opens the link and says hello.
func (a *agent) connect(device string) error {
	file := device
	if port, ok := strings.CutPrefix(device, "port:"); ok {
		var err error
		if file, err = waitForPort(port); err != nil {
			return err
		}
	}
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: file, Err: err}
	}
	// A port has no terminal settings; a serial line must be told to leave
	// the bytes alone.
	if err := makeRaw(fd); err != nil && err != unix.ENOTTY {
		return fmt.Errorf("%s: %w", file, err)
	}
	link := os.NewFile(uintptr(fd), file)
	a.out.w = link
	a.in.r = bufio.NewReader(creditReader{link, &a.out})
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	text, err := json.Marshal(hello{Release: unix.ByteSliceToString(name.Release[:])})
	if err != nil {
		return err
	}
	a.link = link
	return a.out.send(frameHello, text)
}

// waitForPort finds the device file of the virtio-serial port called name,
// which appears some time after its driver is loaded.
func waitForPort(name string) (string, error) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return "", err
		}
		for _, file := range names {
			text, err := os.ReadFile(file)
			if err == nil && strings.TrimSpace(string(text)) == name {
				dev := "/dev/" + filepath.Base(filepath.Dir(file))
				if _, err := os.Stat(dev); err == nil {
					return dev, nil
				}
			}
		}
	}
	return "", fmt.Errorf("no virtio-serial port is called %s", name)
}

// makeRaw makes a terminal pass bytes through unchanged, both ways.
func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	RawTerminal(t)
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// RawTerminal changes terminal settings so that bytes pass unchanged and at
// once, both ways, as cfmakeraw(3) does.
func RawTerminal(t *unix.Termios) {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}

// receiveOrder waits for the host's start frame.
func (a *agent) receiveOrder() error {
	t, payload, err := a.in.next()
	if err != nil {
		return err
	}
	if t != frameStart {
		return fmt.Errorf("frame of type %d, want start", t)
	}
	return json.Unmarshal(payload, &a.order)
}

// serveHost takes the host's frames while a command runs.
func (a *agent) serveHost(c *command) {
	for {
		t, payload, err := a.in.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintf(os.Stderr, "\n%slink to the host: %v\n", agentWarning, err)
			}
			return
		}
		switch t {
		case frameStdin:
			c.input(payload)
		case frameResize:
			c.resize(payload)
		case frameBye:
			close(a.bye)
			return
		}
	}
}
