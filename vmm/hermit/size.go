package hermit

import (
	"fmt"
	"math/big"
	"strings"
)

// sizeUnits are the units of sizes, in lower case. Those of one letter are binary, as
// they are for most programs that run machines.
var sizeUnits = map[string]uint64{
	"": 1, "b": 1,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}

// maxSizeText is longer than any sensible size.
const maxSizeText = 64

// ParseSize reads a size in bytes, such as "64MiB", "1.5 GiB", "100MB" or "67108864".
// Case does not matter. A fraction must come out as whole bytes.
func ParseSize(s string) (uint64, error) {
	bad := func(why string) (uint64, error) {
		if len(s) > maxSizeText {
			s = s[:maxSizeText] + "…"
		}
		return 0, fmt.Errorf("%q is not a size: %s", s, why)
	}
	text := strings.TrimSpace(s)
	if len(text) > maxSizeText {
		return bad("it is too long")
	}
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || text[end] == '.') {
		end++
	}
	number, name := text[:end], strings.ToLower(strings.TrimSpace(text[end:]))
	unit, ok := sizeUnits[name]
	if !ok {
		return bad("its unit must be one of B, kB, MB, GB, TB, KiB, MiB, GiB and TiB")
	}
	whole, fraction, point := strings.Cut(number, ".")
	if whole == "" || point && fraction == "" || strings.Contains(fraction, ".") {
		return bad("it must be a number and a unit, such as 64MiB")
	}
	v, ok := new(big.Rat).SetString(number)
	if !ok {
		return bad("it must be a number and a unit, such as 64MiB")
	}
	v.Mul(v, new(big.Rat).SetInt(new(big.Int).SetUint64(unit)))
	switch {
	case !v.IsInt():
		return bad("it is not a whole number of bytes")
	case !v.Num().IsUint64():
		return bad("it is too large")
	}
	return v.Num().Uint64(), nil
}
