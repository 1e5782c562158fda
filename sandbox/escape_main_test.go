//go:build !cgo

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// layer is what closes a process in, one by one, so that a test can have each of them
// alone.
type layer uint8

const (
	inNamespace layer = 1 << iota // or, by the mode, behind chroot
	lessCaps
	noPrivs
	withLandlock
	withSeccomp

	allLayers = 1<<iota - 1
)

// escapeJob is one attack on one combination of layers. It is carried out by a
// process of its own, which may die of it.
type escapeJob struct {
	Attack string
	Layers layer
	Config Config
	Scene  scene
}

const (
	envEscape = "SANDBOX_TEST_ESCAPE"
	victimJob = "victim"

	// controlIn is where the job finds the socket to the test, leakedFD what was
	// opened by mistake before the process was closed in, a directory beside the share.
	controlIn = 3
	leakedFD  = 100
)

// Answers of the attacker. One that has none is dead.
const (
	answerThrough = "through"
	answerRefused = "refused "
	answerBroken  = "broken "
	answerMove    = "move" // the host is to move sub out of the share
	answerDrop    = "drop" // and to drop its caches
)

// init rather than TestMain: the attacker is this program without its tests.
func init() {
	spec := os.Getenv(envEscape)
	switch spec {
	case "":
		return
	case victimJob:
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	var j escapeJob
	if err := json.Unmarshal([]byte(spec), &j); err != nil {
		panic(err)
	}
	in, err := Inherited()
	if err == nil && in == nil && j.Layers&inNamespace != 0 && j.Config.Mode == ModeNamespace {
		os.Exit(j.outer())
	}
	control := os.NewFile(controlIn, "control")
	if in != nil {
		control = in.Files[0]
	}
	if err == nil {
		err = j.attack(control)
	}
	switch {
	case err == nil:
		fmt.Fprintln(control, answerThrough)
	case errors.As(err, new(brokenError)):
		fmt.Fprintln(control, answerBroken+err.Error())
	default:
		fmt.Fprintln(control, answerRefused+errorName(err))
	}
	os.Exit(0)
}

// brokenError is one of the test, not the sandbox's answer to the attack.
type brokenError struct{ error }

// outer is the outer process, which leaves a descriptor open.
func (j *escapeJob) outer() int {
	control := os.NewFile(controlIn, "control")
	if err := j.leak(); err != nil {
		fmt.Fprintln(control, answerBroken+err.Error())
		return 1
	}
	p, err := Start(&j.Config, control)
	if err != nil {
		fmt.Fprintln(control, answerBroken+err.Error())
		return 1
	}
	status, _ := p.Wait()
	return status
}

func (j *escapeJob) leak() error {
	fd, err := unix.Open(j.Scene.Dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return unix.Dup3(fd, leakedFD, 0)
}

// attack closes the process in and tries to get out.
func (j *escapeJob) attack(control *os.File) error {
	// Attacks change what belongs to a thread.
	runtime.LockOSThread()
	if !inside {
		if err := j.leak(); err != nil {
			return brokenError{err}
		}
	}
	a := &attacker{scene: j.Scene, control: control, view: j.Config.Shares[0].Path}
	if err := j.closeIn(a); err != nil {
		return brokenError{err}
	}
	var err error
	if a.share, err = unix.Open(a.view, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return brokenError{fmt.Errorf("open the share: %w", err)}
	}
	if c := caseNamed(j.Attack); c != nil {
		return c.run(a)
	}
	return brokenError{errors.New("unknown attack")}
}

// closeIn applies the layers of a job. All of them are applied in the way that a
// daemon does it.
func (j *escapeJob) closeIn(a *attacker) error {
	cfg := &j.Config
	a.procFD = -1
	if j.Layers&inNamespace != 0 {
		view, err := Enter(cfg)
		if err != nil {
			return err
		}
		a.view = view.Paths[0]
		if view.ProcSelfFD != nil {
			a.procFD = int(view.ProcSelfFD.Fd())
		}
	}
	if a.procFD < 0 {
		var err error
		if a.procFD, err = unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
	}
	if j.Layers == allLayers {
		_, err := Lock(cfg)
		return err
	}
	if j.Layers&lessCaps != 0 {
		have, err := threadCapSets()
		if err != nil {
			return err
		}
		if err := dropCaps(cfg.Keep & have.permitted); err != nil {
			return err
		}
	}
	if j.Layers&noPrivs != 0 {
		if err := noNewPrivs(); err != nil {
			return err
		}
	}
	if j.Layers&withLandlock != 0 {
		// Without a new root, the share has the name that it has in ModeNone.
		outside := *cfg
		if j.Layers&inNamespace == 0 {
			outside.Mode = ModeNone
		}
		if _, err := applyLandlock(&outside); err != nil {
			return err
		}
	}
	if j.Layers&withSeccomp != 0 {
		return applySeccomp(cfg)
	}
	return nil
}

// attacker is a process that somebody has taken over.
type attacker struct {
	scene
	control *os.File
	view    string // the share's path
	share   int    // O_PATH
	procFD  int    // /proc/self/fd
}

// steal opens a file and succeeds if it is the secret.
func (a *attacker) steal(dir int, path string) error {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return a.read(fd)
}

func (a *attacker) read(fd int) error {
	b := make([]byte, 64)
	n, err := unix.Read(fd, b)
	if err != nil {
		return err
	}
	if string(b[:n]) != secretText {
		return fmt.Errorf("another file")
	}
	return nil
}

// ask has the host do something.
func (a *attacker) ask(what string) error {
	fmt.Fprintln(a.control, what)
	_, err := a.control.Read(make([]byte, 1))
	return err
}

// canOpen succeeds if a file can be opened and, unless it is for writing alone, read.
func canOpen(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil || flags&unix.O_ACCMODE == unix.O_WRONLY {
		return err
	}
	_, err = unix.Read(fd, make([]byte, 512))
	return err
}

// device makes a node of a device in the share and reads from it.
func (a *attacker) device(mode uint32, dev uint64) error {
	if err := unix.Mknodat(a.share, "device", mode|0o600, int(dev)); err != nil {
		return err
	}
	fd, err := unix.Openat(a.share, "device", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = unix.Read(fd, make([]byte, 512))
	return err
}

// byHandle opens a file by its handle, on the mount of a directory.
func (a *attacker) byHandle(dir string, h handle) error {
	mount, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	fd, err := unix.OpenByHandleAt(mount, unix.NewFileHandle(h.Type, h.Bytes), unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	return a.read(fd)
}

// connect reaches a server of the host.
func connect(family, kind int, to unix.Sockaddr) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Connect(fd, to)
}

// hostLoopback succeeds if the network that netlink shows is not an empty one:
// its loopback interface is up.
func hostLoopback() error {
	rib, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	if err != nil {
		return err
	}
	messages, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return err
	}
	for _, m := range messages {
		// struct ifinfomsg: the flags are at 8.
		if m.Header.Type == syscall.RTM_NEWLINK && len(m.Data) > 8 && m.Data[8]&unix.IFF_UP != 0 {
			return nil
		}
	}
	return errors.New("nothing there")
}

// execute runs a program of the share. If that works, the answer is its status.
func (a *attacker) execute(name string) error {
	return unix.Exec(filepath.Join(a.view, name), []string{name}, nil)
}

// fork makes a process in a new namespace, which ends at once.
func fork(flags uintptr) error {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		for {
			syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	_, err := unix.Wait4(int(pid), nil, 0, nil)
	return err
}

// upTo is a path that leads up to the root directory and from there to another.
func upTo(path string) string { return strings.Repeat("../", 12) + strings.TrimPrefix(path, "/") }

// errorName is the short name of an error, for the table.
func errorName(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}
