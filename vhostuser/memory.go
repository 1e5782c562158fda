package vhostuser

import (
	"errors"
	"fmt"

	"github.com/isthmus-fs/isthmus/guestmem"
)

var errNotShared = errors.New("guest memory is not shared with this daemon: " +
	"start the VM with shared memory (QEMU: -object memory-backend-memfd,…,share=on and memory-backend=…; " +
	"Cloud Hypervisor: --memory …,shared=on)")

// setMemTable replaces all of guest memory (SET_MEM_TABLE). User-Mode Linux
// sends room for more regions than it counts.
func (b *backend) setMemTable(m *message) ([]byte, error) {
	regions, err := parseMemTable(m.payload)
	switch {
	case err != nil:
		return nil, err
	case len(m.fds) == 0:
		return nil, errNotShared
	case len(m.fds) != len(regions):
		return nil, fmt.Errorf("%d memory regions came with %d file descriptors", len(regions), len(m.fds))
	}
	for i := range regions {
		regions[i].FD = m.takeFD()
	}
	return nil, b.changeMemory(func() error {
		err := b.mem.Replace(regions)
		if err == nil {
			b.regions = len(regions)
		}
		return err
	})
}

// addMemReg adds a region (ADD_MEM_REG).
func (b *backend) addMemReg(m *message) ([]byte, error) {
	if len(m.fds) == 0 {
		return nil, errNotShared
	}
	region := parseMemReg(m.payload)
	region.FD = m.takeFD()
	return nil, b.changeMemory(func() error {
		err := b.mem.Add(region)
		if err == nil {
			b.regions++
		}
		return err
	})
}

// remMemReg takes a region out (REM_MEM_REG). Front ends may send the region's
// descriptor once more.
func (b *backend) remMemReg(m *message) ([]byte, error) {
	region := parseMemReg(m.payload)
	return nil, b.changeMemory(func() error {
		err := b.mem.Remove(region.GPA, region.Size, region.UVA)
		if err == nil {
			b.regions--
		}
		return err
	})
}

// getMaxMemSlots answers GET_MAX_MEM_SLOTS.
func (b *backend) getMaxMemSlots(*message) ([]byte, error) {
	return u64Payload(guestmem.MaxRegions), nil
}

// changeMemory changes guest memory while no ring uses it, and translates the
// addresses of the rings anew. Requests that the device has keep the memory that
// they were taken with.
//
// A ring whose addresses are not in memory now waits: front ends that change the
// size of a region remove it and add it again.
func (b *backend) changeMemory(change func() error) error {
	ran := make([]bool, len(b.rings))
	for i, v := range b.rings {
		ran[i] = v.ring != nil
		b.pause(v)
	}
	err := change()
	for i, v := range b.rings {
		if serr := b.settle(v); serr != nil && ran[i] {
			b.log.Error("a change of guest memory stopped a ring", "error", serr)
		}
	}
	b.log.Debug("guest memory changed", "regions", b.regions, "error", err)
	return err
}
