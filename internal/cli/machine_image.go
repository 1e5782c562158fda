package cli

import (
	"bytes"
	"context"
	"fmt"

	"github.com/isthmus-fs/isthmus/internal/runspec"
	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/vmm/hermit"
)

// readImage takes the kernel and the settings out of an image.
func (r *hermitRun) readImage(_ context.Context, file []byte) error {
	image, err := hermit.OpenImage(bytes.NewReader(file), int64(len(file)), hermit.ImageOptions{MaxKernel: r.Memory})
	if err != nil {
		return imageError(r.Kernel, err)
	}
	for _, note := range image.Config.Notes {
		r.log.Warn(note)
	}
	if err := image.Config.Check(r.Memory, r.CPUs); err != nil {
		return imageError(r.Kernel, err)
	}
	if r.kernel, err = hermit.ParseKernel(image.Kernel); err != nil {
		return imageError(r.Kernel, fmt.Errorf("%s in it: %w", image.Config.Kernel, err))
	}
	if r.ImageMode == runspec.Internal {
		if r.initrd, err = hermit.UnpackImage(bytes.NewReader(file), int64(len(file)), r.Memory); err != nil {
			return imageError(r.Kernel, err)
		}
	}
	if !r.KernelArgsGiven {
		r.KernelArgs, r.AppArgs = image.Config.KernelArgs, image.Config.AppArgs
	}
	r.settleEnv(image.Config.Env)
	r.image = image
	return nil
}

func imageError(path string, err error) error { return fmt.Errorf("image %s: %w", path, err) }

// root is what the guest sees where nothing is mapped: private space, and in it, if the
// host serves them, the files of an image.
func (r *hermitRun) root() *spec.Mount {
	m := &spec.Mount{Type: spec.Scratch, Target: "/", Pos: spec.Pos{Name: "the guest's root"}}
	if r.image != nil && r.ImageMode == runspec.External {
		m.Type, m.Lower, m.Source = spec.Overlay, spec.Archive, r.Kernel
	}
	// What a guest keeps for itself may be large, and is not to take the host's memory.
	backing := spec.Disk
	m.Backing = &backing
	return m
}
