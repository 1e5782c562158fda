package virtiofs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"unicode/utf8"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/virtq"
)

// Limits of the device.
const (
	// DeviceID is the virtio device id of a file system device.
	DeviceID = 26
	// MaxTag is the longest tag in bytes (the config field's size).
	MaxTag = 36
	// MaxRequestQueues is the most request queues a device has.
	MaxRequestQueues = 64
)

// Config says what a [Device] looks like to its driver. The zero value is a
// device with one request queue and no tag of its own.
type Config struct {
	// Tag names the share to the guest: 1 to MaxTag bytes of UTF-8 without
	// NUL. Empty: the front end knows the tag and the device has no
	// configuration space.
	Tag string
	// RequestQueues is the number of request queues, 1 to MaxRequestQueues;
	// 0 means 1.
	RequestQueues int
	// Logger takes what goes wrong with a ring. Nil means slog.Default().
	Logger *slog.Logger
}

// Device is a virtio-fs device. It satisfies vhostuser.Device.
//
// A transport calls Start, Stop, Reset and Close from one goroutine.
type Device struct {
	server *fuse.Server
	cfg    Config
	log    *slog.Logger
	queues []*queue
	// epoch counts resets. A request that was taken from a ring in an
	// earlier epoch is not given back to the ring of this one.
	epoch atomic.Uint32
}

// New makes a device that answers with server. The caller closes it.
func New(server *fuse.Server, cfg Config) (*Device, error) {
	if cfg.RequestQueues == 0 {
		cfg.RequestQueues = 1
	}
	if cfg.RequestQueues < 1 || cfg.RequestQueues > MaxRequestQueues {
		return nil, fmt.Errorf("%d request queues: want 1 to %d", cfg.RequestQueues, MaxRequestQueues)
	}
	if cfg.Tag != "" {
		if err := CheckTag(cfg.Tag); err != nil {
			return nil, err
		}
	}
	d := &Device{server: server, cfg: cfg, log: cfg.Logger}
	if d.log == nil {
		d.log = slog.Default()
	}
	for i := range 1 + cfg.RequestQueues {
		q, err := newQueue(d, i)
		if err != nil {
			d.Close()
			return nil, err
		}
		d.queues = append(d.queues, q)
	}
	return d, nil
}

// CheckTag says whether a tag can stand in the configuration space.
func CheckTag(tag string) error {
	switch {
	case tag == "":
		return errors.New("the tag is empty")
	case len(tag) > MaxTag:
		return fmt.Errorf("the tag %q has %d bytes: at most %d fit", tag, len(tag), MaxTag)
	case !utf8.ValidString(tag):
		return fmt.Errorf("the tag %q is not UTF-8", tag)
	}
	for i := range len(tag) {
		if tag[i] == 0 {
			return fmt.Errorf("the tag %q contains a NUL", tag)
		}
	}
	return nil
}

// Features returns the device type's own virtio feature bits. The only one that
// exists, VIRTIO_FS_F_NOTIFICATION (bit 0), has no driver.
func (d *Device) Features() uint64 { return 0 }

// NumQueues returns the number of queues: one for high priority and the request
// queues.
func (d *Device) NumQueues() int { return len(d.queues) }

// Config returns the configuration space (struct virtio_fs_config: tag[36] and
// le32 num_request_queues), or nil for a device without a tag.
func (d *Device) Config() []byte {
	if d.cfg.Tag == "" {
		return nil
	}
	c := make([]byte, MaxTag+4)
	copy(c, d.cfg.Tag)
	binary.LittleEndian.PutUint32(c[MaxTag:], uint32(d.cfg.RequestQueues))
	return c
}

// Start begins to serve ring r as queue i. The ring belongs to the device until
// Stop returns.
func (d *Device) Start(i int, r *virtq.Ring) error {
	if i < 0 || i >= len(d.queues) {
		return fmt.Errorf("queue %d: the device has %d", i, len(d.queues))
	}
	return d.queues[i].start(r)
}

// Stop ends the service of queue i, if it is running. With drain, every request
// taken from the ring has been answered when it returns, lock waits with EINTR.
// Without, requests that wait elsewhere are answered on the ring that the next
// Start brings, unless Reset or a Stop with drain comes first: the latter is for
// a ring that has gone since.
func (d *Device) Stop(i int, drain bool) {
	if i >= 0 && i < len(d.queues) {
		d.queues[i].stop(drain)
	}
}

// Reset ends the session: requests still under way are cancelled and never
// answered, nodes and handles are dropped. All queues must have been stopped.
func (d *Device) Reset() {
	d.epoch.Add(1)
	d.server.Reset()
	for _, q := range d.queues {
		q.discard()
	}
}

// Close stops all queues, resets the device and frees what it holds.
func (d *Device) Close() {
	for _, q := range d.queues {
		q.stop(false)
	}
	d.Reset()
	for _, q := range d.queues {
		q.close()
	}
}
