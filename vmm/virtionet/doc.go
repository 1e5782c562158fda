// Package virtionet is a virtio network card whose other end is a TAP interface of
// the host (virtio 1.3 §5.1): one queue to receive, one to transmit.
//
// [OpenTAP] takes an interface that the owner has made, as an ordinary user if it
// was made for that user. The guest's card has the interface's own MAC address and
// MTU. A [Device] satisfies virtiopci.Backend; it begins to work when a driver has
// set its queues up.
//
// # Offloads
//
// The driver may leave checksums to the host (VIRTIO_NET_F_CSUM) and take frames
// without (VIRTIO_NET_F_GUEST_CSUM), if the TAP interface takes part. Frames within
// the host, and between guests, then never have one computed. For a driver that
// wants them computed, the receiving worker does it.
//
// # Workers
//
// Each queue has a goroutine on a thread of its own. It sleeps in poll(2) until
// there is something to do or it is to stop; nothing is done on a timeout. Frames go
// between the TAP interface and the guest's buffers in one system call each, without
// a copy. A frame that does not fit, or that the host does not take, is dropped and
// counted, as on any network.
//
// # Trust
//
// What the guest writes is not trusted: the header of a frame is copied, the copy is
// checked, and the kernel gets a header of our own making. Frames are the guest's
// word against the network's: no filter looks at them. A chain that no driver would
// build breaks its queue, and no other.
//
// # Concurrency
//
// The transport calls the methods of its interface from one goroutine at a time.
// [Device.SetLink] and [Device.Stats] may be called at any time by any.
package virtionet
