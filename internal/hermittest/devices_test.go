package hermittest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testPCI: there is no device unless one is asked for.
func testPCI(t *testing.T) {
	for _, kernel := range []string{"legacy-pie", "v3"} {
		(&guest{kernel: kernel, args: []string{"pci"}}).passes(t)
	}
}

// ownNetwork gives the rest of a test, and the programs that it starts, a network of their own,
// in which there is a loopback device only.
func ownNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test
	check(t, unix.Unshare(unix.CLONE_NEWNET))
	bringUp(t, "lo", nil)
}

// bringUp switches an interface on, with an address in a network of 24 bits if it is not nil.
func bringUp(t *testing.T, name string, address []byte) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(s)
	set := func(request uint, change func(*unix.Ifreq)) {
		r, err := unix.NewIfreq(name)
		check(t, err)
		change(r)
		check(t, unix.IoctlIfreq(s, request, r))
	}
	if address != nil {
		set(unix.SIOCSIFADDR, func(r *unix.Ifreq) { check(t, r.SetInet4Addr(address)) })
		set(unix.SIOCSIFNETMASK, func(r *unix.Ifreq) { check(t, r.SetInet4Addr([]byte{255, 255, 255, 0})) })
	}
	set(unix.SIOCSIFFLAGS, func(r *unix.Ifreq) { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING) })
}

// makeTAP makes a TAP device that stays until the network is gone.
func makeTAP(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	r, err := unix.NewIfreq(name)
	check(t, err)
	r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	check(t, unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, r))
	check(t, unix.IoctlSetInt(int(f.Fd()), unix.TUNSETPERSIST, 1))
}

// networked: datagrams go to the guest and come back.
func networked(t *testing.T, kernel string) {
	ownNetwork(t)
	makeTAP(t, "tap10")
	bringUp(t, "tap10", []byte{10, 0, 5, 2})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	g := &guest{kernel: kernel, flags: []string{"--net=tap:tap10"}, args: []string{"network", "code=42"}}
	cmd := g.command(ctx)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	check(t, cmd.Start())
	err := talk(t, ctx)
	if err != nil {
		cmd.Process.Kill()
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); err != nil || code != 42 || out.String() != "ready\n" {
		t.Errorf("%v, exit code %d, output:\n%s\nerrors:\n%s", err, code, &out, &errOut)
	}
}

// talk sends datagrams and wants each to come back with its bytes in reverse. UDP may lose
// some: they are sent until there is an answer.
func talk(t *testing.T, ctx context.Context) error {
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(10, 0, 5, 3), Port: 9975})
	check(t, err)
	defer conn.Close()
	buf := make([]byte, 2048)
	for _, size := range []int{1, 2, 100, 1471, 1472, 7, 0} {
		data := make([]byte, size)
		rand.Read(data)
		want := slices.Clone(data)
		slices.Reverse(want)
		for {
			if ctx.Err() != nil {
				return fmt.Errorf("no answer to %d bytes", size)
			}
			conn.Write(data) // while the guest starts nobody may be there
			conn.SetReadDeadline(time.Now().Add(time.Second))
			n, err := conn.Read(buf)
			if err != nil || n != size {
				continue // none yet, or a late one to what was sent before
			}
			if !bytes.Equal(buf[:n], want) {
				t.Errorf("%d bytes came back as others", size)
			}
			break
		}
	}
	return nil
}

// debugged: a debugger has the guest wait for it, looks at it, changes it, and the
// guest's exit code is kept. Breakpoints do not work on an emulated KVM.
func debugged(t *testing.T, kernel string) {
	ownNetwork(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	g := &guest{kernel: kernel, flags: []string{"--gdb-port=6677", "-c2"}, args: []string{"gdb", "code=42"}}
	cmd := g.command(ctx)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	check(t, cmd.Start())
	defer cmd.Wait()
	d := dialDebugger(t, ctx, cmd)
	offset := d.textOffset()
	symbols := symbolsOf(t, g.kernel)
	if rip, want := d.register("rip"), offset+symbols["_start"]; rip != want {
		t.Errorf("the guest begins at %#x, its entry is %#x", rip, want)
	}
	if rdi, rsi := d.register("rdi"), d.register("rsi"); rdi == 0 || rsi != 0 {
		t.Errorf("RDI %#x, RSI %#x", rdi, rsi)
	}
	value := offset + symbols["gdb_value"]
	if got := d.read(value); got != 5 {
		t.Errorf("the value is %d", got)
	}
	d.write(value, 41)
	if got := d.read(value); got != 41 {
		t.Errorf("the value that was written is %d", got)
	}
	for range 5 {
		before := d.register("rip")
		if reply := d.ask("vCont;s:1"); !strings.HasPrefix(reply, "T05") && !strings.HasPrefix(reply, "S05") {
			t.Fatalf("a step: %q", reply)
		}
		if after := d.register("rip"); after <= before || after > before+15 {
			t.Errorf("a step from %#x to %#x", before, after)
		}
	}
	if reply := d.ask("vCont;c"); reply != "W2a" && !strings.HasPrefix(reply, "W2a;") {
		t.Errorf("the end: %q", reply)
	}
	d.conn.Close()
	cmd.Wait()
	const want = "value 42\nsum 5\nvalue 43\n"
	if code := cmd.ProcessState.ExitCode(); code != 42 || out.String() != want {
		t.Errorf("exit code %d, output %q, errors:\n%s", code, &out, &errOut)
	}
}

// waitFor tries until there is no error.
func waitFor(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func dialDebugger(t *testing.T, ctx context.Context, cmd *exec.Cmd) *debugger {
	t.Helper()
	d := &debugger{t: t}
	err := waitFor(ctx, func() (err error) {
		d.conn, err = net.Dial("tcp4", "127.0.0.1:6677")
		return err
	})
	if err != nil {
		cmd.Process.Kill()
		t.Fatal(err)
	}
	t.Cleanup(func() { d.conn.Close() })
	deadline, _ := ctx.Deadline()
	check(t, d.conn.SetDeadline(deadline))
	if reply := d.ask("qSupported:swbreak+;hwbreak+;vContSupported+"); !strings.Contains(reply, "PacketSize=") {
		t.Fatalf("qSupported: %q", reply)
	}
	if reply := d.ask("?"); reply == "" || strings.HasPrefix(reply, "E") {
		t.Fatalf("?: %q", reply)
	}
	return d
}
