package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/internal/lab"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/virtiofs"
)

// TestGuestForgetsEverything lists 100,000 files in a guest, has the guest drop
// its caches, and looks into the file system's table: only the root is left, and
// the descriptors are back. Nodes that each keep a descriptor do the same, with
// as many files as the usual limit of open files leaves room for.
func TestGuestForgetsEverything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const dirs, files = 100, 1000
	for i := range dirs {
		sub := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		for j := range files {
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(j)), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name string
		use  passthrough.HandleUse
		list int // directories
	}{
		{"handles", passthrough.HandlesMandatory, dirs},
		{"descriptors", passthrough.HandlesNever, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files := tt.list * files
			fs, err := passthrough.New(passthrough.Config{Path: dir, FileHandles: tt.use})
			if err != nil {
				t.Fatal(err)
			}
			defer fs.Close()
			socket := listen(t, fs)
			before := fs.Stats()
			most := 0
			cfg := guest(lab.UML, &daemon{socket: socket}, sh(`
				cd `+mountedAt+`
				find $(seq 0 `+fmt.Sprint(tt.list-1)+`) -type f -size 0 | wc -l
				read go
				cd /
				echo 2 >/proc/sys/vm/drop_caches
				echo dropped
				read go`)...)
			cfg.MemoryMiB = 512
			in, typing, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			defer typing.Close()
			cfg.Stdin = in
			step := 0
			var after passthrough.Stats
			cfg.Stdout = writerFunc(func(p []byte) {
				switch step++; step {
				case 1:
					if string(p) != fmt.Sprintf("%d\n", files) {
						t.Errorf("find counted %q", p)
					}
					most = fs.Stats().Nodes
				case 2:
					// Forgets travel after the caches are dropped.
					for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
						if after = fs.Stats(); after.Nodes == 1 || time.Now().After(end) {
							break
						}
					}
				}
				typing.WriteString("go\n")
			})
			if _, err := lab.Run(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			if most < files {
				t.Errorf("the guest knew %d nodes after find", most)
			}
			if after != before {
				t.Errorf("before find %+v, after drop_caches %+v", before, after)
			}
		})
	}
}

// listen serves fs in this process, with the packages alone, and returns the
// socket.
func listen(t *testing.T, fs *passthrough.FS) string {
	dev, err := virtiofs.New(fuse.NewServer(fs, fuse.Options{}), virtiofs.Config{Tag: tag})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if err := vhostuser.ServeConn(t.Context(), conn.(*net.UnixConn), dev, vhostuser.Options{}); err != nil {
				t.Error(err)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		dev.Close()
	})
	return l.Addr().String()
}
