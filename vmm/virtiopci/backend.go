package virtiopci

import "github.com/isthmus-fs/isthmus/virtq"

// Backend is a virtio device as a transport drives it. It is the Device of package
// vhostuser, method for method. All are called from one goroutine at a time, which
// may be that of any processor.
type Backend interface {
	// Features returns the virtio feature bits of the device type itself: 0
	// to 23 and 50 to 63 of virtio 1.3 §2.2. Those of the ring are not the
	// device's.
	Features() uint64
	// NumQueues returns the number of all queues.
	NumQueues() int
	// Config returns the configuration space; nil if there is none.
	Config() []byte
	// Start begins the service of queue i, which does not run. The device
	// first looks at the ring, then waits for kicks. The ring and its
	// descriptors are valid until Stop returns. Interrupts and failures are
	// for r.Interrupt and r.Fail: r.Call and r.Err are −1.
	Start(i int, r *virtq.Ring) error
	// Stop ends the service of queue i. Afterwards the device uses the ring
	// no more. With drain, every request that was taken from the ring is
	// answered first.
	Stop(i int, drain bool)
	// Reset forgets all that the driver has set up, and drops all requests.
	// No queue runs.
	Reset()
}

// Negotiator is a [Backend] that wants to know the features that the driver has
// accepted, or has a say in them. Negotiate comes before the first Start; after an
// error the driver finds FEATURES_OK refused (virtio 1.3 §2.2.2).
type Negotiator interface {
	Negotiate(features uint64) error
}

// Changer is a [Backend] whose configuration space changes by itself. It gets a
// function to call after each change, from any goroutine that holds no lock that
// Config wants.
type Changer interface {
	OnConfigChange(changed func())
}
