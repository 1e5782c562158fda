package virtiopci

import "sync"

// The host bridge is one that drivers know to need nothing: QEMU's generic PCI
// Express bridge, whose ids Red Hat has given away for that.
const (
	bridgeVendor = 0x1b36
	bridgeDevice = 0x0008
	bridgeClass  = 0x060000
)

// hostBridge is a function that is only there: Linux takes mechanism #1 for real if
// it finds one on bus 0.
type hostBridge struct {
	mu  sync.Mutex
	cfg config
}

func newHostBridge() *hostBridge {
	h := &hostBridge{}
	h.cfg.header(bridgeVendor, bridgeDevice, bridgeClass, 0)
	return h
}

func (h *hostBridge) readConfig(off int, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cfg.read(off, data)
}

func (h *hostBridge) writeConfig(off int, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cfg.write(off, data)
}
