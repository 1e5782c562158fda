package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/virtq"
)

// Device is what a back end drives. All methods are called from the goroutine of
// ServeConn; a Device serves one front end at a time.
type Device interface {
	// Features returns the virtio feature bits of the device type itself: 0
	// to 23 and 50 to 127 of virtio 1.3 §2.2. Those of the ring are not the
	// device's.
	Features() uint64
	// NumQueues returns the number of all queues, 1 to 256.
	NumQueues() int
	// Config returns the configuration space. If it is nil, the back end
	// does not offer one, and the front end has to know it (CONFIG).
	Config() []byte
	// Start begins the service of queue i, which does not run. The device
	// first looks at the ring, then waits for kicks. The ring and its
	// descriptors are valid until Stop returns. After an error the queue
	// does not run.
	Start(i int, r *virtq.Ring) error
	// Stop ends the service of queue i. Afterwards the device uses the ring
	// no more and r.Queue.Next is where the next Start goes on.
	//
	// With drain, every request that was taken from the ring is answered
	// first. If queue i does not run, requests left from a Stop without
	// drain are dropped: their answers appear in no later ring.
	//
	// Without drain, requests in flight may be answered on the ring of a
	// later Start. They keep their memory by retaining r.Mem.
	Stop(i int, drain bool)
	// Reset forgets all that the driver has set up, and drops all requests.
	// No queue runs.
	Reset()
}

// Options says how to serve a front end. The zero value is ready for use.
type Options struct {
	// Logger takes what goes wrong and, as debug messages, what goes on. Nil
	// means slog.Default().
	Logger *slog.Logger
}

// ServeConn is a back end for the front end at the other end of sock, until
//
//   - the front end hangs up, and requests in flight are dropped: ServeConn
//     returns nil,
//   - ctx ends, and requests in flight are answered: it returns nil too,
//   - the front end breaks the protocol, or a message fails that it does not
//     want the outcome of, and requests in flight are dropped: the error says
//     how.
//
// On return the device has been reset and is ready for the
// next front end, sock and all descriptors of the front end are closed, and
// guest memory is unmapped but for what requests that are still under way hold.
func ServeConn(ctx context.Context, sock *net.UnixConn, dev Device, opt Options) error {
	b := newBackend(sock, dev, opt)
	defer sock.Close()
	stop := b.conn.interruptible(ctx)
	defer stop()
	err := b.serve()
	ended := interrupted(err) && ctx.Err() != nil
	b.close(ended)
	if ended || hungUp(err) {
		return nil
	}
	return err
}

// backend is the state of one connection.
type backend struct {
	conn conn
	dev  Device
	log  *slog.Logger

	features uint64 // offered
	protocol uint64 // offered
	acked    uint64 // virtio features that the driver has accepted

	mem     guestmem.Space
	regions int
	rings   []*vring

	// channel is the socket for messages to the front end
	// (SET_BACKEND_REQ_FD), −1 if there is none.
	channel int
}

func newBackend(sock *net.UnixConn, dev Device, opt Options) *backend {
	b := &backend{
		conn:     conn{sock: sock},
		dev:      dev,
		log:      opt.Logger,
		features: offeredFeatures(dev),
		protocol: offeredProtocol(dev),
		channel:  -1,
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	for i := range dev.NumQueues() {
		b.rings = append(b.rings, newVring(i))
	}
	return b
}

// close gives everything back. drain says whether requests in flight are
// answered first.
func (b *backend) close(drain bool) {
	for _, v := range b.rings {
		b.take(v, drain)
	}
	b.dev.Reset()
	for _, v := range b.rings {
		v.close()
	}
	b.mem.Close()
	replaceFD(&b.channel, -1)
}

func (b *backend) serve() error {
	var m message
	for {
		err := b.conn.recv(&m)
		if err == nil {
			err = b.handle(&m)
		}
		m.closeFDs()
		if err != nil {
			return err
		}
	}
}

// rule is what is known of a message before anything is done about it.
type rule struct {
	// handle does what the message asks for. For messages with a reply of
	// their own it returns its payload.
	handle func(*backend, *message) (reply []byte, err error)
	// size is how long the payload is at least.
	size int
	// minFDs and maxFDs bound the number of descriptors.
	minFDs, maxFDs int
	// replies is set for messages with a reply of their own. NEED_REPLY does
	// not get them a second.
	replies bool
}

// rules holds the messages of what is offered, by id.
var rules = [...]rule{
	ReqGetFeatures:         {handle: (*backend).getFeatures, replies: true},
	ReqSetFeatures:         {handle: (*backend).setFeatures, size: u64Size},
	ReqSetOwner:            {handle: (*backend).ignore},
	ReqResetOwner:          {handle: (*backend).ignore},
	ReqSetMemTable:         {handle: (*backend).setMemTable, size: memTableHeadSize, maxFDs: MaxFDs},
	ReqSetVringNum:         {handle: (*backend).setVringNum, size: vringStateSize},
	ReqSetVringAddr:        {handle: (*backend).setVringAddr, size: vringAddrSize},
	ReqSetVringBase:        {handle: (*backend).setVringBase, size: vringStateSize},
	ReqGetVringBase:        {handle: (*backend).getVringBase, size: vringStateSize, replies: true},
	ReqSetVringKick:        {handle: (*backend).setVringKick, size: u64Size, maxFDs: 1},
	ReqSetVringCall:        {handle: (*backend).setVringCall, size: u64Size, maxFDs: 1},
	ReqSetVringErr:         {handle: (*backend).setVringErr, size: u64Size, maxFDs: 1},
	ReqGetProtocolFeatures: {handle: (*backend).getProtocolFeatures, replies: true},
	ReqSetProtocolFeatures: {handle: (*backend).setProtocolFeatures, size: u64Size},
	ReqGetQueueNum:         {handle: (*backend).getQueueNum, replies: true},
	ReqSetVringEnable:      {handle: (*backend).setVringEnable, size: vringStateSize},
	ReqSetBackendReqFD:     {handle: (*backend).setBackendReqFD, minFDs: 1, maxFDs: 1},
	ReqGetConfig:           {handle: (*backend).getConfig, size: configHeadSize, replies: true},
	ReqSetConfig:           {handle: (*backend).setConfig, size: configHeadSize},
	ReqResetDevice:         {handle: (*backend).resetDevice},
	ReqGetMaxMemSlots:      {handle: (*backend).getMaxMemSlots, replies: true},
	ReqAddMemReg:           {handle: (*backend).addMemReg, size: memRegMsgSize, maxFDs: 1},
	ReqRemMemReg:           {handle: (*backend).remMemReg, size: memRegMsgSize, maxFDs: 1},
}

// errNotOffered is the outcome of messages that belong to no feature that is
// offered, or to no protocol that is known.
var errNotOffered = errors.New("the message belongs to nothing that is offered")

// handle does what a message asks for and answers it. It returns the errors that
// end the connection: those that there is no way to answer with.
func (b *backend) handle(m *message) error {
	reply, r, err := b.dispatch(m)
	if err != nil {
		err = fmt.Errorf("%s: %w", m.request, err)
	}
	switch {
	case r.replies && err == nil:
		return b.conn.reply(m.request, reply)
	case r.replies:
		return err
	case m.needReply():
		ack := uint64(0)
		if err != nil {
			b.log.Error("a message of the front end failed", "error", err)
			ack = 1
		}
		return b.conn.reply(m.request, u64Payload(ack))
	case errors.Is(err, errNotOffered):
		b.log.Debug("ignored a message", "error", err)
		return nil
	}
	return err
}

// dispatch checks a message against its rule and handles it.
func (b *backend) dispatch(m *message) ([]byte, *rule, error) {
	r := &rule{}
	if uint64(m.request) < uint64(len(rules)) {
		r = &rules[m.request]
	}
	switch {
	case r.handle == nil:
		return nil, r, errNotOffered
	case len(m.payload) < r.size:
		return nil, r, fmt.Errorf("payload of %d bytes: at least %d are needed", len(m.payload), r.size)
	case len(m.fds) < r.minFDs || len(m.fds) > r.maxFDs:
		return nil, r, fmt.Errorf("%d file descriptors came with it", len(m.fds))
	}
	reply, err := r.handle(b, m)
	return reply, r, err
}

// ignore takes note that there is an owner (SET_OWNER), or nothing
// (RESET_OWNER, which is obsolete and disables nothing).
func (b *backend) ignore(*message) ([]byte, error) { return nil, nil }

func (b *backend) getFeatures(*message) ([]byte, error) { return u64Payload(b.features), nil }

// setFeatures takes the features that the driver has accepted. It may come while
// rings run. Without FeatProtocol there is no SET_VRING_ENABLE, and all rings
// are enabled; with it they stay as they are.
func (b *backend) setFeatures(m *message) ([]byte, error) {
	f := parseU64(m.payload)
	if not := f &^ b.features; not != 0 {
		return nil, fmt.Errorf("features %#x are not offered", not)
	}
	const rebuild = virtq.FeatRingEventIdx | virtq.FeatRingIndirectDesc
	changed := (f^b.acked)&rebuild != 0
	b.acked = f
	var errs []error
	for _, v := range b.rings {
		if f&FeatProtocol == 0 {
			v.enabled = true
		}
		if changed {
			b.pause(v)
		}
		errs = append(errs, b.settle(v))
	}
	b.log.Debug("features accepted", "features", fmt.Sprintf("%#x", f))
	return nil, errors.Join(errs...)
}

func (b *backend) getProtocolFeatures(*message) ([]byte, error) { return u64Payload(b.protocol), nil }

func (b *backend) setProtocolFeatures(m *message) ([]byte, error) {
	f := parseU64(m.payload)
	if not := f &^ b.protocol; not != 0 {
		return nil, fmt.Errorf("protocol features %#x are not offered", not)
	}
	b.log.Debug("protocol features accepted", "features", fmt.Sprintf("%#x", f))
	return nil, nil
}

func (b *backend) getQueueNum(*message) ([]byte, error) {
	return u64Payload(uint64(len(b.rings))), nil
}

// setBackendReqFD keeps the socket for messages to the front end.
func (b *backend) setBackendReqFD(m *message) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(m.fds[0], &st); err != nil {
		return nil, fmt.Errorf("fstat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, errors.New("the descriptor is no socket")
	}
	replaceFD(&b.channel, m.takeFD())
	return nil, nil
}

// getConfig answers GET_CONFIG with exactly as many bytes as it asks for, and a
// wrong request with none at all.
func (b *backend) getConfig(m *message) ([]byte, error) {
	space := b.dev.Config()
	if space == nil {
		b.log.Error("the front end asks for the configuration space, but there is none")
		return nil, nil
	}
	r, err := parseConfigRange(m.payload)
	if err != nil {
		b.log.Error("a message of the front end failed", "message", m.request, "error", err)
		return nil, nil
	}
	return r.payload(space), nil
}

func (b *backend) setConfig(*message) ([]byte, error) {
	return nil, errors.New("the configuration space is read-only")
}

// resetDevice brings the device back to where it was at first, but for guest
// memory, which front ends go on counting with.
func (b *backend) resetDevice(*message) ([]byte, error) {
	for _, v := range b.rings {
		b.pause(v)
		v.reset()
	}
	b.dev.Reset()
	b.acked = 0
	return nil, nil
}
