package virtionet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/isthmus-fs/isthmus/virtq"
)

// What a transport has to know of the device.
const (
	DeviceID = 1        // virtio device id of a network card
	PCIClass = 0x020000 // Ethernet controller
)

// Queues (virtio 1.3 §5.1.2).
const (
	receiveQueue  = 0
	transmitQueue = 1
	numQueues     = 2
)

// Feature bits (virtio 1.3 §5.1.3).
const (
	featCsum      uint64 = 1 << 0
	featGuestCsum uint64 = 1 << 1
	featMTU       uint64 = 1 << 3
	featMAC       uint64 = 1 << 5
	featStatus    uint64 = 1 << 16
)

// struct virtio_net_config (virtio 1.3 §5.1.4). Drivers want all of it to be there;
// what belongs to features that are not offered is 0.
const (
	configMAC    = 0
	configStatus = 6
	configMTU    = 10
	configSize   = 24

	statusLinkUp = 1
)

// minMTU is the least that may be announced (virtio 1.3 §5.1.4.1).
const minMTU = 68

// Config describes a device to [New].
type Config struct {
	// TAP is the other end. It stays the caller's, and open as long as the
	// device.
	TAP *TAP
	// OnThread, if it is not nil, is called on the thread of each worker before
	// anything else. The thread ends with the worker. After an error the queue
	// does not run.
	OnThread func() error
	// Logger takes what goes wrong. Nil means slog.Default().
	Logger *slog.Logger
}

// Device is a network card.
type Device struct {
	cfg      Config
	log      *slog.Logger
	workers  [numQueues]*worker
	features uint64 // that the driver has accepted; set while no queue runs

	down      atomic.Bool // the link
	lost      atomic.Bool // the interface is no more
	complains atomic.Uint32
	counters  counters

	mu      sync.Mutex
	changed func() // tells the transport of a new link status
}

// New makes a network card. The caller closes it, after its transport.
func New(cfg Config) (*Device, error) {
	if cfg.TAP == nil {
		return nil, errors.New("a network card needs a TAP interface")
	}
	d := &Device{cfg: cfg, log: cfg.Logger, changed: func() {}}
	if d.log == nil {
		d.log = slog.Default()
	}
	for i, serve := range [numQueues]func(*worker) error{
		receiveQueue:  (*worker).receive,
		transmitQueue: (*worker).transmit,
	} {
		w, err := newWorker(d, i, serve)
		if err != nil {
			d.Close()
			return nil, err
		}
		d.workers[i] = w
	}
	return d, nil
}

// Features returns the feature bits of the device type.
func (d *Device) Features() uint64 {
	f := featGuestCsum | featMAC | featStatus
	if d.cfg.TAP.checksums {
		f |= featCsum
	}
	if d.announcesMTU() {
		f |= featMTU
	}
	return f
}

func (d *Device) announcesMTU() bool {
	return d.cfg.TAP.mtu >= minMTU && d.cfg.TAP.mtu <= 65535
}

// NumQueues returns 2.
func (d *Device) NumQueues() int { return numQueues }

// Config returns the configuration space.
func (d *Device) Config() []byte {
	c := make([]byte, configSize)
	copy(c[configMAC:], d.cfg.TAP.mac[:])
	if !d.down.Load() {
		binary.LittleEndian.PutUint16(c[configStatus:], statusLinkUp)
	}
	if d.announcesMTU() {
		binary.LittleEndian.PutUint16(c[configMTU:], uint16(d.cfg.TAP.mtu))
	}
	return c
}

// Negotiate takes the features that the driver has accepted. All go together.
func (d *Device) Negotiate(features uint64) error {
	d.features = features
	return nil
}

// OnConfigChange takes what to call when the link status has changed.
func (d *Device) OnConfigChange(changed func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed = changed
}

// SetLink plugs the cable in or out. Without, frames of either side are dropped.
func (d *Device) SetLink(up bool) {
	if d.down.Swap(!up) == !up {
		return
	}
	d.mu.Lock()
	changed := d.changed
	d.mu.Unlock()
	changed()
}

// Start begins to serve ring r as queue i. The ring has a kick descriptor that does
// not block.
func (d *Device) Start(i int, r *virtq.Ring) error {
	if i < 0 || i >= numQueues {
		return fmt.Errorf("queue %d: a network card has %d", i, numQueues)
	}
	if r.Kick < 0 {
		return fmt.Errorf("queue %d: a driver that does not kick is not supported", i)
	}
	return d.workers[i].start(r)
}

// Stop ends the service of queue i. Nothing is ever left in between, so drain makes
// no difference.
func (d *Device) Stop(i int, drain bool) {
	if i >= 0 && i < numQueues {
		d.workers[i].stop()
	}
}

// Reset forgets what the driver has accepted.
func (d *Device) Reset() { d.features = 0 }

// Close stops the workers and frees what the device holds.
func (d *Device) Close() {
	for _, w := range d.workers {
		if w != nil {
			w.stop()
			w.close()
		}
	}
}

// complain logs what went wrong by the guest's doing, which has no end.
func (d *Device) complain(message string, queue int, err error) {
	const most = 16
	if d.complains.Load() >= most {
		return
	}
	d.complains.Add(1)
	d.log.Warn(message, "interface", d.cfg.TAP.name, "queue", queue, "error", err)
}

// lose takes note that the interface was deleted. Nothing brings it back.
func (d *Device) lose(err error) {
	if d.lost.Swap(true) {
		return
	}
	d.log.Error("the network interface is gone", "interface", d.cfg.TAP.name, "error", err)
	d.SetLink(false)
}
