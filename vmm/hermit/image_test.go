package hermit

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"slices"
	"testing"
)

// pack makes an image of files; a header without a type is a regular file.
func pack(t testing.TB, files ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range files {
		data := h.Linkname
		if h.Typeflag == 0 {
			h.Typeflag, h.Size, h.Linkname = tar.TypeReg, int64(len(data)), ""
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// file is a regular file for pack.
func file(name, data string) tar.Header { return tar.Header{Name: name, Linkname: data} }

func open(b []byte, o ImageOptions) (*Image, error) {
	return OpenImage(bytes.NewReader(b), int64(len(b)), o)
}

func TestDetect(t *testing.T) {
	for _, tt := range []struct {
		start string
		want  Format
	}{
		{"\x7fELF\x02", FormatELF}, {"\x1f\x8b\x08\x00", FormatImage},
		{"", FormatUnknown}, {"\x1f\x8b\x08", FormatUnknown}, {"\x7fELG", FormatUnknown}, {"\x28\xb5\x2f\xfd", FormatUnknown},
	} {
		if got := Detect([]byte(tt.start)); got != tt.want {
			t.Errorf("%q is %d, want %d", tt.start, got, tt.want)
		}
	}
}

func TestOpenImage(t *testing.T) {
	for _, names := range [][2]string{{"hermit.toml", "bin/app"}, {"./hermit.toml", "./bin/app"}} {
		// The kernel may come before the settings.
		b := pack(t, file("other", "x"), file(names[1], "the kernel"), file(names[0], goodConfig))
		m, err := open(b, ImageOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Kernel) != "the kernel" || m.Config.Kernel != "/bin/app" || m.Config.CPUs != 2 {
			t.Errorf("%q, %+v", m.Kernel, m.Config)
		}
		if want := []string{"/", "/bin"}; !slices.Equal(m.Dirs, want) {
			t.Errorf("the directories are %q, want %q", m.Dirs, want)
		}
	}
}

func TestOpenImageRefuses(t *testing.T) {
	settings := file("hermit.toml", goodConfig)
	kernel := file("bin/app", "the kernel")
	good := pack(t, settings, kernel)
	damaged := bytes.Clone(good)
	damaged[len(damaged)-6] ^= 1 // in the checksum
	bomb := pack(t, settings, kernel, file("zeros", string(make([]byte, 8<<20))))
	for _, tt := range []struct {
		name  string
		image []byte
		o     ImageOptions
		want  string
	}{
		{"no settings", pack(t, kernel), ImageOptions{}, "the image has no /hermit.toml"},
		{"no kernel", pack(t, settings), ImageOptions{}, "the image has no /bin/app"},
		{"two settings", pack(t, settings, settings, kernel), ImageOptions{}, "has /hermit.toml twice"},
		{"two kernels", pack(t, settings, kernel, kernel), ImageOptions{}, "has /bin/app twice"},
		{"a link", pack(t, settings, tar.Header{Name: "bin/app", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), ImageOptions{}, "not a regular file"},
		{"a directory", pack(t, settings, tar.Header{Name: "bin/app/", Typeflag: tar.TypeDir}), ImageOptions{}, "not a regular file"},
		{"large settings", pack(t, file("hermit.toml", string(make([]byte, maxConfig+1))), kernel), ImageOptions{}, "at most 1048576"},
		{"large kernel", good, ImageOptions{MaxKernel: 9}, "has 10 bytes; at most 9"},
		{"bad settings", pack(t, file("hermit.toml", "x"), kernel), ImageOptions{}, "line 1"},
		{"not gzip", []byte("hello, world"), ImageOptions{}, "the image cannot be read: gzip"},
		{"empty", nil, ImageOptions{}, "the image cannot be read"},
		{"cut", good[:len(good)-1], ImageOptions{}, "the image cannot be read"},
		{"cut in the middle", good[:len(good)/2], ImageOptions{}, "the image cannot be read"},
		{"damaged", damaged, ImageOptions{}, "checksum"},
		{"bomb", bomb, ImageOptions{MaxUnpacked: 1 << 20}, "larger, unpacked"},
	} {
		_, err := open(tt.image, tt.o)
		checkError(t, tt.name, err, tt.want)
	}
	if _, err := open(bomb, ImageOptions{MaxUnpacked: 1 << 20}); !errors.Is(err, ErrUnpacked) {
		t.Errorf("a bomb is %v", err)
	}
	if _, err := open(bomb, ImageOptions{}); err != nil {
		t.Errorf("what is small enough is %v", err)
	}
}

func TestUnpackImage(t *testing.T) {
	b := pack(t, file("a", "hello"))
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(len(want))
	for _, limit := range []uint64{0, n, n + 1, 1<<64 - 1} {
		got, err := UnpackImage(bytes.NewReader(b), int64(len(b)), limit)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("limit %d: %d bytes, %v", limit, len(got), err)
		}
	}
	for _, limit := range []uint64{1, n - 1} {
		if _, err := UnpackImage(bytes.NewReader(b), int64(len(b)), limit); !errors.Is(err, ErrUnpacked) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

// FuzzImage mutates the archive in an image, and the image as it is.
func FuzzImage(f *testing.F) {
	good := pack(f, file("hermit.toml", goodConfig), file("bin/app", "the kernel"))
	f.Add(good, false)
	raw, err := UnpackImage(bytes.NewReader(good), int64(len(good)), 1<<20)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, true)
	f.Fuzz(func(t *testing.T, b []byte, packed bool) {
		if packed {
			var z bytes.Buffer
			w := gzip.NewWriter(&z)
			w.Write(b)
			w.Close()
			b = z.Bytes()
		}
		m, err := open(b, ImageOptions{MaxKernel: 1 << 16, MaxUnpacked: 1 << 20})
		if err == nil && (m.Config == nil || len(m.Kernel) > 1<<16) {
			t.Errorf("%+v", m)
		}
	})
}
