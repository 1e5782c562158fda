package virtiopci

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/oslib"
)

const (
	capMSIX      = 0x11
	msixControl  = 2 // offset of Message Control in the capability
	msixEnable   = 1 << 15
	msixMaskAll  = 1 << 14
	entrySize    = 16 // of the table
	entryControl = 12 // offset of Vector Control
	entryMasked  = 1 << 0
	maxVectors   = 256 // that fit into the table's page
)

// message is what a vector writes, and where.
type message struct {
	addr uint64
	data uint32
}

// vector is an entry of the MSI-X table and the eventfd that stands for it. The
// device signals the eventfd; KVM listens while the vector is not masked. What is
// signalled at other times stays in the eventfd: KVM looks for that when it begins
// to listen.
type vector struct {
	entry    [entrySize]byte
	fd       int
	gsi      uint32
	routed   message
	hasRoute bool
	live     bool // KVM listens
}

func (v *vector) masked() bool {
	return binary.LittleEndian.Uint32(v.entry[entryControl:])&entryMasked != 0
}

func (v *vector) message() message {
	return message{binary.LittleEndian.Uint64(v.entry[:]), binary.LittleEndian.Uint32(v.entry[8:])}
}

// pending says whether the vector has something to tell.
func (v *vector) pending() bool {
	p := [1]unix.PollFd{{Fd: int32(v.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p[:], 0)
	return err == nil && n == 1
}

// msix is the MSI-X state of a device, under the device's lock; vectors' fds never
// change.
type msix struct {
	dev     *Device
	vectors []vector
	enabled bool
	masked  bool // all of them
}

func (m *msix) open(d *Device, n int) error {
	if n > maxVectors {
		return fmt.Errorf("%d interrupt vectors: at most %d are supported", n, maxVectors)
	}
	m.dev = d
	first := d.bus.routes.take(n)
	for i := range n {
		fd, errno := oslib.Eventfd(0, unix.EFD_NONBLOCK)
		if errno != 0 {
			m.close()
			return fmt.Errorf("eventfd for an interrupt vector: %w", errno)
		}
		v := vector{fd: fd, gsi: first + uint32(i)}
		v.entry[entryControl] = entryMasked
		m.vectors = append(m.vectors, v)
	}
	return nil
}

func (m *msix) close() {
	m.setControl(0)
	for i := range m.vectors {
		oslib.Close(m.vectors[i].fd)
	}
	m.vectors = nil
}

// signal makes an interrupt of vector i, or has it wait for the mask. An i out of
// range is a driver that wants none.
func (m *msix) signal(i uint32) {
	if i < uint32(len(m.vectors)) {
		// The only error is EAGAIN: as many are pending as can be.
		oslib.EventfdWrite(m.vectors[i].fd, 1)
	}
}

// setControl takes over a new Message Control.
func (m *msix) setControl(control uint16) {
	m.enabled = control&msixEnable != 0
	m.masked = control&msixMaskAll != 0
	for i := range m.vectors {
		m.settle(&m.vectors[i])
		if !m.enabled {
			oslib.EventfdRead(m.vectors[i].fd)
		}
	}
}

// settle has KVM listen to a vector, or not, as its masks say.
func (m *msix) settle(v *vector) {
	listen := m.enabled && !m.masked && !v.masked()
	if listen {
		if want := v.message(); !v.hasRoute || want != v.routed {
			err := m.dev.bus.routes.route(v.gsi, want)
			if v.hasRoute = err == nil; err != nil {
				m.dev.complain("the guest programmed an interrupt vector that cannot be",
					fmt.Errorf("address %#x, data %#x: %w", want.addr, want.data, err))
			}
			v.routed = want
		}
		listen = v.hasRoute
	}
	if listen == v.live {
		return
	}
	arg := kvm.IRQFD{FD: uint32(v.fd), GSI: v.gsi}
	if !listen {
		arg.Flags = kvm.IRQFD_FLAG_DEASSIGN
	}
	if err := m.dev.bus.cfg.KVM.IRQFD(&arg); err != nil {
		m.dev.bus.log.Error("an interrupt vector cannot be tied to its eventfd", "gsi", v.gsi, "error", err)
		return
	}
	v.live = listen
}

// readTable fills data from the table.
func (m *msix) readTable(off int, data []byte) {
	for i := range data {
		at := off + i
		data[i] = m.vectors[at/entrySize].entry[at%entrySize]
	}
}

// writeTable changes the table. The bits of Vector Control other than the mask are
// reserved.
func (m *msix) writeTable(off int, data []byte) {
	for i, b := range data {
		at := off + i
		switch e := &m.vectors[at/entrySize].entry; at % entrySize {
		case entryControl:
			e[entryControl] = b & entryMasked
		case entryControl + 1, entryControl + 2, entryControl + 3:
		default:
			e[at%entrySize] = b
		}
	}
	for i := off / entrySize; i <= (off+len(data)-1)/entrySize; i++ {
		m.settle(&m.vectors[i])
	}
}

// readPending fills data from the pending bit array.
func (m *msix) readPending(off int, data []byte) {
	for i := range data {
		data[i] = 0
		for bit := range 8 {
			if n := (off+i)*8 + bit; n < len(m.vectors) && !m.vectors[n].live && m.vectors[n].pending() {
				data[i] |= 1 << bit
			}
		}
	}
}
