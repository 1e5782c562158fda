package compat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vhostuser/vhosttest"
)

const (
	// patience bounds every wait of a failing run; it measures nothing.
	patience = 3 * time.Minute
	// nobody is the ordinary user.
	nobody = 65534
)

// long is a name that no path with it fits in a socket address.
var long = strings.Repeat("x", 120)

// place is the directory that a row runs in.
type place struct {
	dir    string
	socket string // where the daemon listens
}

// newPlace makes what the command lines name.
func newPlace(t *testing.T) *place {
	t.Helper()
	dir, err := os.MkdirTemp("", "compat-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &place{dir: dir, socket: filepath.Join(dir, "s")}
	err = os.Chmod(dir, 0o777)
	for _, d := range []string{"share", "with,comma", "with=equals", "not-utf8-\xff", long} {
		err = errors.Join(err, os.Mkdir(filepath.Join(dir, d), 0o777))
	}
	for _, f := range []string{"file", "share/f"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, f), []byte("content"), 0o666))
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) expand(args string) []string {
	fields := strings.Fields(args)
	for i := range fields {
		fields[i] = strings.NewReplacer(
			"{dir}", p.dir, "{share}", filepath.Join(p.dir, "share"), "{socket}", p.socket,
			"{long}", long, "{space}", " ", "{empty}", "",
		).Replace(fields[i])
	}
	return fields
}

// process is a daemon that runs.
type process struct {
	t       *testing.T
	place   *place
	cmd     *exec.Cmd
	started daemon
	row     *row
	out     *outcome
	exited  chan struct{}
	// stdout and stderr are files, as a pipe would have to be emptied, also of
	// what an inner process says.
	stdout, stderr string
}

// start starts the row's command line.
func start(t *testing.T, d daemon, r *row, p *place) *process {
	t.Helper()
	if r.socket != "" {
		p.socket = p.expand(r.socket)[0]
	}
	x := &process{t: t, place: p, started: d, row: r, out: &outcome{}, exited: make(chan struct{})}
	x.cmd = exec.Command(d.path, p.expand(r.args)...)
	x.cmd.Env = append(withoutLogLevel(os.Environ()), r.env...)
	x.cmd.Dir = p.dir
	if r.in != "" {
		x.cmd.Dir = filepath.Join(p.dir, r.in)
	}
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if r.user {
		x.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	if r.fd != 0 {
		x.passSocket(r.fd)
	}
	for name, to := range map[string]struct {
		file *string
		set  func(*os.File)
	}{
		"stdout": {&x.stdout, func(f *os.File) { x.cmd.Stdout = f }},
		"stderr": {&x.stderr, func(f *os.File) { x.cmd.Stderr = f }},
	} {
		f, err := os.CreateTemp(t.TempDir(), name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		*to.file = f.Name()
		to.set(f)
	}
	err := x.cmd.Start()
	for _, f := range x.cmd.ExtraFiles {
		f.Close() // with the daemon's end the socket is to be dead
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() { x.cmd.Wait(); close(x.exited) }()
	t.Cleanup(func() {
		x.cmd.Process.Kill()
		<-x.exited
		if d.kind == legacyC {
			os.Remove("/run/virtiofsd/" + strings.ReplaceAll(p.socket, "/", ".") + ".pid")
		}
	})
	return x
}

// withoutLogLevel is env without what would change the log.
func withoutLogLevel(env []string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, "RUST_LOG=") {
			out = append(out, e)
		}
	}
	return out
}

// passSocket has the daemon inherit a listening socket as descriptor n.
func (x *process) passSocket(n int) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: x.place.socket, Net: "unix"})
	if err != nil {
		x.t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	sock, err := l.File()
	l.Close()
	if err != nil {
		x.t.Fatal(err)
	}
	x.cmd.ExtraFiles = make([]*os.File, n-3, n-2) // nil entries stay closed
	x.cmd.ExtraFiles = append(x.cmd.ExtraFiles, sock)
}

// wait polls until ok or the daemon has ended, and tells which.
func (x *process) wait(what string, ok func() bool) bool {
	x.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if ok() {
			return true
		}
		select {
		case <-x.exited:
			return ok()
		default:
		}
		if time.Now().After(end) {
			x.t.Fatalf("%s does not come:\n%s", what, x.log())
		}
	}
}

func (x *process) log() string {
	b, err := os.ReadFile(x.stderr)
	if err != nil {
		x.t.Fatal(err)
	}
	return string(b)
}

// connect connects as soon as that is possible; nil says that the daemon ended.
func (x *process) connect() *net.UnixConn {
	x.t.Helper()
	var c *net.UnixConn
	x.wait("the socket", func() bool {
		if c != nil {
			return true
		}
		x.lookAtSocket() // some remove it when they have a VM
		var err error
		c, err = dial(x.place.socket)
		return err == nil
	})
	if c != nil {
		x.t.Cleanup(func() { c.Close() })
		x.look()
	}
	return c
}

// dial connects to a socket, whatever the length of its path.
func dial(path string) (*net.UnixConn, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: short, Net: "unix"})
}

// look takes down the files of a daemon that listens. Before, it must not be called:
// it tries the lock of the pid file, which the daemon would then not get.
func (x *process) look() {
	x.lookAtSocket()
	if x.row.fd == 0 {
		x.out.pid = lookAtPidFile(x.place.socket+".pid", x.cmd.Process.Pid)
	}
}

func (x *process) lookAtSocket() {
	if s := lookAtSocket(x.place.socket); s != "" && x.row.fd == 0 {
		x.out.socket = s
	}
}

// end waits for the daemon's end and completes the outcome.
func (x *process) end() outcome {
	x.t.Helper()
	select {
	case <-x.exited:
	case <-time.After(patience):
		x.t.Fatalf("the daemon does not end:\n%s", x.log())
	}
	o := x.out
	if ws := x.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		o.status = ws.Signal().String()
	} else {
		o.status = fmt.Sprint(ws.ExitStatus())
	}
	stdout, err := os.ReadFile(x.stdout)
	if err != nil {
		x.t.Fatal(err)
	}
	o.stdout = readStdout(stdout)
	log := x.log()
	o.stderr, o.log = log != "", readLog(log)
	if o.status != "0" && !strings.Contains(o.log, "W") {
		// It may have had a socket before it failed, and we may have seen it.
		o.socket, o.pid = "", ""
	}
	if x.row.warn != "" {
		for line := range strings.Lines(log) {
			o.warned = o.warned || strings.Contains(line, " WARN  virtiofsd") && strings.Contains(line, x.row.warn)
		}
	}
	if x.row.files {
		var left []string
		for _, f := range []string{x.place.socket, x.place.socket + ".pid"} {
			if _, err := os.Lstat(f); err == nil {
				left = append(left, filepath.Base(f))
			}
		}
		o.left = strings.Join(left, " ")
	}
	return *o
}

// What a row does with a daemon that it has started. Each may find that the
// daemon has ended already.

// hangUp connects and says nothing.
func hangUp(x *process) {
	if c := x.connect(); c != nil {
		c.Close()
	}
}

// greeted is hangUp once the daemon has said that a VM may come: virtiofsd gives the
// socket to its group when it listens already.
func greeted(x *process) {
	if x.awaitVM() {
		hangUp(x)
	}
}

// nonsense sends what is no message of vhost-user.
func nonsense(x *process) {
	c := x.connect()
	if c == nil {
		return
	}
	c.Write(bytes.Repeat([]byte{0xff}, 40))
	c.SetReadDeadline(time.Now().Add(patience))
	for b := make([]byte, 64); ; {
		if _, err := c.Read(b); err != nil {
			return // the daemon has hung up
		}
	}
}

// cutOff ends the connection in the middle of a message's header.
func cutOff(x *process) {
	if c := x.connect(); c != nil {
		c.Write([]byte{1, 0, 0, 0, 1, 0})
		c.Close()
	}
}

// features talks as far as the protocol features.
func features(x *process) {
	c := x.connect()
	if c == nil {
		return
	}
	fe := vhosttest.New(c)
	defer fe.Close()
	fe.Timeout = patience
	if err := fe.SetOwner(); err != nil {
		x.t.Error(err)
	}
	virtio, err := fe.GetFeatures()
	if err != nil {
		x.t.Error(err)
	}
	protocol, err := fe.GetProtocolFeatures()
	if err != nil {
		x.t.Error(err)
	}
	const (
		f            = 30 // VHOST_USER_F_PROTOCOL_FEATURES
		version1     = 32
		pMQ          = 0
		pConfig      = 9
		pMemSlots    = 15
		pDeviceState = 19
	)
	var told []string
	for _, bit := range []struct {
		name string
		set  uint64
		n    int
	}{
		{"PROTOCOL_FEATURES", virtio, f}, {"VERSION_1", virtio, version1},
		{"MQ", protocol, pMQ}, {"CONFIG", protocol, pConfig},
		{"CONFIGURE_MEM_SLOTS", protocol, pMemSlots}, {"DEVICE_STATE", protocol, pDeviceState},
	} {
		if bit.set&(1<<bit.n) != 0 {
			told = append(told, bit.name)
		}
	}
	if protocol&(1<<pConfig) != 0 {
		if err := fe.SetProtocolFeatures(1 << pConfig); err != nil {
			x.t.Error(err)
		}
		// struct virtio_fs_config: the tag and the number of request queues.
		cfg, err := fe.GetConfig(0, 40)
		if err != nil || len(cfg) != 40 {
			x.t.Errorf("GET_CONFIG: %d bytes, %v", len(cfg), err)
		} else {
			told = append(told, fmt.Sprintf("tag %s queues %d", bytes.TrimRight(cfg[:36], "\x00"), binary.LittleEndian.Uint32(cfg[36:])))
		}
	}
	x.out.told = strings.Join(told, " ")
}

// awaitVM waits until the daemon says that a VM may come.
func (x *process) awaitVM() bool {
	return x.wait("the line that launchers wait for", func() bool { return strings.Contains(readLog(x.log()), "W") })
}

// sending sends a signal to a daemon that waits for its VM.
func sending(sig syscall.Signal) func(*process) {
	return func(x *process) {
		if x.awaitVM() {
			x.look()
			x.cmd.Process.Signal(sig)
		}
	}
}

// interrupting sends a signal to a daemon that has a VM.
func interrupting(sig syscall.Signal) func(*process) {
	return func(x *process) {
		c := x.connect()
		if c == nil {
			return
		}
		fe := vhosttest.New(c)
		fe.Timeout = patience
		if _, err := fe.GetFeatures(); err != nil {
			return // it has ended, and the outcome says how
		}
		if strings.Contains(x.row.want.log, "C") {
			x.wait("the line about the connection", func() bool { return strings.Contains(readLog(x.log()), "C") })
		}
		x.cmd.Process.Signal(sig)
		<-x.exited
	}
}

// twice starts the same command line again, while the daemon waits.
func twice(x *process) {
	if !x.awaitVM() {
		return
	}
	second := *x.row
	o := start(x.t, x.started, &second, x.place).end()
	x.out.told = fmt.Sprintf("the second: status %s log %s", o.status, o.log)
	hangUp(x) // the first is as it was
}

// awaitUnlocked waits until the pid file's lock is free. The inner process of other
// daemons holds it a moment longer than the outer one lives.
func (x *process) awaitUnlocked() {
	x.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		f, err := os.Open(x.place.socket + ".pid")
		if err != nil {
			return
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		f.Close()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			x.t.Fatal("the lock of the pid file is never free")
		}
	}
}

// again kills the daemon and starts another.
func again(x *process) {
	if !x.awaitVM() {
		return
	}
	x.cmd.Process.Signal(unix.SIGKILL)
	<-x.exited
	if x.started.kind != ours {
		x.awaitUnlocked()
	}
	next := *x.row
	y := start(x.t, x.started, &next, x.place)
	y.awaitVM() // until then it is the first one's socket that is there
	hangUp(y)
	o := y.end()
	x.out.told = fmt.Sprintf("the next: status %s log %s %s", o.status, o.log, o.socket)
}
