package vhostuser

import "github.com/isthmus-fs/isthmus/virtq"

// FeatProtocol is the bit in the virtio feature words of GET_FEATURES and
// SET_FEATURES that says that protocol features can be negotiated
// (VHOST_USER_F_PROTOCOL_FEATURES). A front end that does not accept it cannot
// enable rings one by one: they are all enabled.
const FeatProtocol uint64 = 1 << 30

// ringFeatures are the virtio features that this package and virtq provide to
// any device.
const ringFeatures = virtq.FeatVersion1 | virtq.FeatRingIndirectDesc | virtq.FeatRingEventIdx | FeatProtocol

// Protocol features (GET_PROTOCOL_FEATURES).
const (
	ProtoMQ                   uint64 = 1 << 0
	ProtoLogShmfd             uint64 = 1 << 1
	ProtoReplyAck             uint64 = 1 << 3
	ProtoBackendReq           uint64 = 1 << 5
	ProtoConfig               uint64 = 1 << 9
	ProtoBackendSendFD        uint64 = 1 << 10
	ProtoInflightShmfd        uint64 = 1 << 12
	ProtoResetDevice          uint64 = 1 << 13
	ProtoInbandNotifications  uint64 = 1 << 14
	ProtoConfigureMemSlots    uint64 = 1 << 15
	ProtoStatus               uint64 = 1 << 16
	ProtoDeviceState          uint64 = 1 << 19
	ProtoGetVringBaseInflight uint64 = 1 << 20
	ProtoGPAAddresses         uint64 = 1 << 21
	ProtoShmem                uint64 = 1 << 22
)

// offeredFeatures returns the virtio features of a back end that drives dev.
func offeredFeatures(dev Device) uint64 {
	return ringFeatures | dev.Features()
}

// offeredProtocol returns the protocol features of a back end that drives dev.
// CONFIG is not offered without need: QEMU 7.1 to 8.0 abort over it.
func offeredProtocol(dev Device) uint64 {
	f := ProtoMQ | ProtoReplyAck | ProtoBackendReq | ProtoBackendSendFD | ProtoResetDevice | ProtoConfigureMemSlots
	if dev.Config() != nil {
		f |= ProtoConfig
	}
	return f
}
