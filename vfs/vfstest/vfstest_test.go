package vfstest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestScenariosAgainstHost plays every scenario on two host directories: what
// is the same must be found to be the same, and each scenario must do on the
// host what it is made for.
func TestScenariosAgainstHost(t *testing.T) {
	umask := unix.Umask(0)
	defer unix.Umask(umask)
	for fs, dir := range map[string]func(t *testing.T) string{"tmp": tempDir("/tmp"), "shm": tempDir("/dev/shm")} {
		t.Run(fs, func(t *testing.T) {
			for _, a := range areas {
				t.Run(a.name, func(t *testing.T) {
					s := &suite{t: t, Subject: Subject{Dir: dir(t), Twin: dir(t)}, feat: offered}
					s.play(t, a)
				})
			}
			t.Run("sequences", func(t *testing.T) {
				s := &suite{t: t, Subject: Subject{Dir: dir(t), Twin: dir(t)}, feat: offered}
				s.testSequences(t)
			})
		})
	}
}
