package hermittest

import (
	"archive/tar"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
)

// imaged: a kernel that comes with files and settings.
func imaged(t *testing.T, kernel string) {
	path := filepath.Join(t.TempDir(), "image.tar.gz")
	makeImage(t, path, kernel, map[string]string{
		"hermit.toml": `version = "1"
kernel = "/boot/kernel"
[input]
kernel_args = []
app_args = ["cat", "/root/greeting", "code=42"]
env_vars = ["ONE=1", "TWO=2"]
[requirements]
memory = "16MiB"
cpus = 1
`,
		"root/greeting": "Hello from an image!\n",
	})
	for _, isolation := range []string{"none", "normal", "strict"} {
		g := &guest{image: path, flags: []string{"--file-isolation=" + isolation}}
		if r := g.run(t); r.code != 42 || r.out != "Hello from an image!\n" {
			t.Errorf("%s: %v", isolation, r)
		}
	}
	g := &guest{image: path, flags: []string{"-eTWO=II"}, args: []string{"env"}}
	if r := g.passes(t); r.out != "ONE=1\nTWO=II\n" {
		t.Error(r)
	}
	// In internal mode the guest has the archive, and the host serves no file of it.
	g = &guest{image: path, flags: []string{"--hermit-image-mode=internal"}, args: []string{"initrd", "want=Hello from an image!"}}
	g.passes(t)
	g = &guest{image: path, flags: []string{"--hermit-image-mode=internal"}}
	if r := g.run(t); r.code != 255 {
		t.Error(r)
	}
}

// makeImage packs a kernel and other files.
func makeImage(t *testing.T, path, kernel string, files map[string]string) {
	t.Helper()
	code, err := os.ReadFile(program(kernel))
	check(t, err)
	files["boot/kernel"] = string(code)
	f, err := os.Create(path)
	check(t, err)
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	for name, content := range files {
		check(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
		_, err := w.Write([]byte(content))
		check(t, err)
	}
	check(t, w.Close())
	check(t, z.Close())
	check(t, f.Close())
}
