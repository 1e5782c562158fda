package virtionet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
	"github.com/isthmus-fs/isthmus/vmm/virtiopci"
)

// lineKVM has an interrupt input and nothing else.
type lineKVM struct{ high atomic.Bool }

func (k *lineKVM) IRQLine(_ uint32, level bool) error        { k.high.Store(level); return nil }
func (k *lineKVM) IRQFD(*kvm.IRQFD) error                    { return errors.ErrUnsupported }
func (k *lineKVM) IOEventFD(*kvm.IOEventFD) error            { return errors.ErrUnsupported }
func (k *lineKVM) SetGSIRouting([]kvm.IRQRoutingEntry) error { return errors.ErrUnsupported }

// TestOnABus is a driver that knows where the transport has its registers.
func TestOnABus(t *testing.T) {
	const base, isr, space, notify = 0xfe000000, 0x100, 0x200, 0x1000
	tap := newTAP(t)
	setUp(t, tap.Name(), true)
	host := newHostSocket(t, tap.Name())
	mem, err := virtqtest.NewMemory(virtqtest.Segment{GPA: 0, Size: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	regions, err := mem.Regions()
	if err != nil {
		t.Fatal(err)
	}
	var guest guestmem.Space
	if err := guest.Replace(regions); err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	machine := &lineKVM{}
	bus, err := virtiopci.NewBus(virtiopci.Config{KVM: machine, Memory: &guest, Base: base, Size: 1 << 20, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	card, err := New(Config{TAP: tap, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer card.Close()
	defer bus.Close()
	if _, err := bus.Add(card, virtiopci.Options{ID: DeviceID, Class: PCIClass}); err != nil {
		t.Fatal(err)
	}
	set := func(off uint64, n int, v uint64) {
		bus.Memory().Write(off, binary.LittleEndian.AppendUint64(nil, v)[:n])
	}
	get := func(off uint64, n int) uint64 {
		b := make([]byte, 8)
		bus.Memory().Read(off, b[:n])
		return binary.LittleEndian.Uint64(b)
	}
	for i, c := range tap.MAC() {
		if v := get(space+uint64(i), 1); byte(v) != c {
			t.Errorf("byte %d of the address is %#x, want %#x", i, v, c)
		}
	}
	if v := get(space+configMTU, 2); v != uint64(tap.MTU()) {
		t.Errorf("MTU %d, want %d", v, tap.MTU())
	}

	set(0x14, 1, 3) // ACKNOWLEDGE, DRIVER
	accept := virtq.FeatVersion1 | featMAC | featStatus | featMTU
	set(0x08, 4, 0)
	set(0x0c, 4, accept&0xffffffff)
	set(0x08, 4, 1)
	set(0x0c, 4, accept>>32)
	set(0x14, 1, 11) // FEATURES_OK
	var rings [numQueues]*virtqtest.Driver
	for i := range rings {
		if rings[i], err = virtqtest.New(mem, virtqtest.Config{Size: 8}); err != nil {
			t.Fatal(err)
		}
		defer rings[i].Close()
		at := rings[i].Layout()
		set(0x16, 2, uint64(i))
		set(0x18, 2, 8)
		set(0x20, 8, at.Desc)
		set(0x28, 8, at.Avail)
		set(0x30, 8, at.Used)
		set(0x1c, 2, 1)
	}
	buffers := [numQueues]virtqtest.Buf{{GPA: 0x80000, Len: 2048}, {GPA: 0x90000, Len: headerSize + 64}}
	rings[receiveQueue].AddChain(nil, []virtqtest.Buf{buffers[receiveQueue]})
	rings[receiveQueue].Publish()
	set(0x14, 1, 15) // DRIVER_OK
	if v := get(0x14, 1); v != 15 {
		t.Fatalf("device status %#x", v)
	}

	want := frame(64, 7)
	copy(mem.Bytes(buffers[transmitQueue])[headerSize:], want)
	rings[transmitQueue].AddChain([]virtqtest.Buf{buffers[transmitQueue]}, nil)
	if rings[transmitQueue].Publish() {
		set(notify+4*transmitQueue, 2, transmitQueue)
	}
	if _, got := host.receive(); !bytes.Equal(got, want) {
		t.Error("another frame arrived at the host")
	}
	host.send(header{}, want)
	r := &rig{t: t, dev: card, rings: rings}
	for i, n := range []uint32{receiveQueue: headerSize + 64, transmitQueue: 0} {
		if written := r.used(i); written != n {
			t.Errorf("queue %d: %d bytes, want %d", i, written, n)
		}
	}
	r.eventually("an interrupt", machine.high.Load)
	if v := get(isr, 1); v != 1 {
		t.Errorf("ISR status %#x", v)
	}
	card.SetLink(false)
	if v := get(isr, 1); v&2 == 0 {
		t.Errorf("ISR status %#x after the link went", v)
	}
	if v := get(space+configStatus, 2); v != 0 {
		t.Errorf("link status %#x", v)
	}
	// A driver that breaks its queue is told so, and can begin again.
	rings[transmitQueue].SetAvailIdx(1000)
	set(notify+4*transmitQueue, 2, transmitQueue)
	r.eventually("DEVICE_NEEDS_RESET", func() bool { return get(0x14, 1) == 0x4f })
	set(0x14, 1, 0)
	if v := get(0x14, 1); v != 0 {
		t.Errorf("device status %#x after a reset", v)
	}
}
