package hermit

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseSize(t *testing.T) {
	for _, tt := range []struct {
		text string
		want uint64
	}{
		{"0", 0}, {"67108864", 64 << 20}, {"64MiB", 64 << 20}, {" 64 mib ", 64 << 20}, {"64M", 64 << 20},
		{"100MB", 100e6}, {"1.5GiB", 3 << 29}, {"0.5k", 512}, {"2kB", 2000}, {"1TB", 1e12}, {"1t", 1 << 40}, {"7 B", 7},
		{"1.000B", 1}, {"18446744073709551615", 1<<64 - 1},
	} {
		got, err := ParseSize(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("%q is %d, %v, want %d", tt.text, got, err, tt.want)
		}
	}
	for _, tt := range []struct{ text, want string }{
		{"", "must be a number"}, {"MiB", "must be a number"}, {".5GiB", "must be a number"}, {"1.", "must be a number"},
		{"1.2.3", "must be a number"}, {"-1", "unit"}, {"+1", "unit"}, {"1e3", "unit"}, {"0x10", "unit"}, {"1 XB", "unit"}, {"1_000", "unit"},
		{"0.3B", "whole number"}, {"15.9999GiB", "whole number"}, {"1.0001kB", "whole number"},
		{"18446744073709551616", "too large"}, {"16777216TiB", "too large"}, {strings.Repeat("9", 65), "too long"},
	} {
		_, err := ParseSize(tt.text)
		checkError(t, tt.text, err, tt.want)
	}
}

// TestParseSizeAll: what is written in any unit is read back.
func TestParseSizeAll(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := rapid.Uint64().Draw(rt, "size")
		n := rapid.IntRange(0, 4).Draw(rt, "unit")
		unit := []string{"", "KiB", "MiB", "GiB", "TiB"}[n]
		text := fmt.Sprintf("%d", v>>(10*n))
		if got, err := ParseSize(text + unit); err != nil || got != v>>(10*n)<<(10*n) {
			rt.Fatalf("%s%s is %d, %v", text, unit, got, err)
		}
	})
}

func FuzzParseSize(f *testing.F) {
	f.Add("64MiB")
	f.Add("1.5 GB")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseSize(s)
		if err != nil {
			return
		}
		if again, err := ParseSize(fmt.Sprint(v)); err != nil || again != v {
			t.Errorf("%q is %d, and that is %d, %v", s, v, again, err)
		}
	})
}
