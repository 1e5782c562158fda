package virtq

// Feature bits that say how a ring works (virtio 1.3 §6).
const (
	FeatNotifyOnEmpty    uint64 = 1 << 24 // VIRTIO_F_NOTIFY_ON_EMPTY, legacy only
	FeatAnyLayout        uint64 = 1 << 27 // VIRTIO_F_ANY_LAYOUT, legacy only
	FeatRingIndirectDesc uint64 = 1 << 28 // VIRTIO_F_INDIRECT_DESC
	FeatRingEventIdx     uint64 = 1 << 29 // VIRTIO_F_EVENT_IDX
	FeatVersion1         uint64 = 1 << 32 // VIRTIO_F_VERSION_1
	FeatAccessPlatform   uint64 = 1 << 33 // VIRTIO_F_ACCESS_PLATFORM
	FeatRingPacked       uint64 = 1 << 34 // VIRTIO_F_RING_PACKED
	FeatInOrder          uint64 = 1 << 35 // VIRTIO_F_IN_ORDER
	FeatOrderPlatform    uint64 = 1 << 36 // VIRTIO_F_ORDER_PLATFORM
	FeatSRIOV            uint64 = 1 << 37 // VIRTIO_F_SR_IOV
	FeatNotificationData uint64 = 1 << 38 // VIRTIO_F_NOTIFICATION_DATA
	FeatNotifConfigData  uint64 = 1 << 39 // VIRTIO_F_NOTIF_CONFIG_DATA
	FeatRingReset        uint64 = 1 << 40 // VIRTIO_F_RING_RESET
)

// Flags of a descriptor (virtio 1.3 §2.7.5).
const (
	DescNext     uint16 = 1 // the field next holds another descriptor
	DescWrite    uint16 = 2 // the device writes the buffer; else it reads it
	DescIndirect uint16 = 4 // the buffer holds a table of descriptors
)

// Flags in the head of a ring without VIRTIO_F_EVENT_IDX (virtio 1.3 §2.7.6,
// §2.7.8).
const (
	AvailNoInterrupt uint16 = 1 // the driver does not want to be interrupted
	UsedNoNotify     uint16 = 1 // the device does not want to be kicked
)

const (
	// MaxSize is the largest queue size (virtio 1.3 §2.7).
	MaxSize = 32768
	// MaxIndirect is the longest chain with an indirect table that a queue
	// of fewer descriptors takes. Drivers may not exceed the queue size
	// (virtio 1.3 §2.7.5.3.1), but Linux before 5.13 and Windows do when a
	// request is larger than that: QEMU's queue of 128 has to take one of
	// 1 MiB in pages. The bound is the kernel's for iovecs, and QEMU's.
	MaxIndirect = 1024
)

// Sizes of a descriptor and of an element of the two rings, and of what the
// rings have around their elements: flags and idx before, the event word after.
const (
	descLen      = 16
	availElemLen = 2
	usedElemLen  = 8
	ringHeadLen  = 4
	eventLen     = 2
)

// DescSize returns the length in bytes of the descriptor table of a queue.
func DescSize(size int) int { return descLen * size }

// AvailSize returns the length in bytes of the available ring of a queue, its
// used_event word included.
func AvailSize(size int) int { return ringHeadLen + availElemLen*size + eventLen }

// UsedSize returns the length in bytes of the used ring of a queue, its
// avail_event word included.
func UsedSize(size int) int { return ringHeadLen + usedElemLen*size + eventLen }
