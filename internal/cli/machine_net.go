package cli

import (
	"errors"
	"fmt"

	"github.com/isthmus-fs/isthmus/sandbox"
	"github.com/isthmus-fs/isthmus/vmm/virtionet"
	"github.com/isthmus-fs/isthmus/vmm/virtiopci"
)

// Where devices have their registers: below the I/O APIC, and above all memory of guests
// that live below 3 GiB.
const (
	deviceBase = 0xfe000000
	deviceSize = 0xfec00000 - deviceBase
)

// openNet gives the guest a network card whose other end is a TAP interface.
func (r *hermitRun) openNet(name string) error {
	if v := r.kernel.Version; !r.kernel.Legacy && (v.Less(0, 13) || v.Major == 0 && v.Minor == 13 && v.Patch < 2) {
		r.log.Warn("--net: kernels have a driver for this machine's network card from 0.13.2 on; this one may not see it", "kernel", v.String())
	}
	tap, err := virtionet.OpenTAP(name)
	if err != nil {
		return fmt.Errorf("--net: %w", err)
	}
	r.later(func() error { tap.Close(); return nil })
	card, err := virtionet.New(virtionet.Config{TAP: tap, OnThread: r.closeInDevice, Logger: r.log})
	if err != nil {
		return fmt.Errorf("--net: %w", err)
	}
	r.later(func() error { card.Close(); return nil })
	bus, err := virtiopci.NewBus(virtiopci.Config{
		KVM:    r.vm.VM(),
		Memory: r.vm.Memory(),
		Base:   deviceBase,
		Size:   deviceSize,
		Logger: r.log,
	})
	if err != nil {
		return err
	}
	r.later(func() error { bus.Close(); return nil })
	// Hermit has interrupts on before its network driver is up.
	opt := virtiopci.Options{ID: virtionet.DeviceID, Class: virtionet.PCIClass, Pulse: true}
	if _, err := bus.Add(card, opt); err != nil {
		return err
	}
	r.vm.HandlePorts(virtiopci.FirstPort, virtiopci.NumPorts, bus.Ports())
	r.vm.HandleMMIO(deviceBase, deviceSize, bus.Memory())
	return nil
}

// closeInDevice takes from the thread of a device what that does not take.
func (r *hermitRun) closeInDevice() error {
	if r.locked == nil {
		return errors.New("a device has begun to work before the machine was closed in")
	}
	return r.locked.LockThread(sandbox.RoleDevice)
}
