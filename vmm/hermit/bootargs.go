package hermit

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// bootargs writes the command line that kernels find in the device tree:
//
//	kernel arguments… env=NAME=VALUE… -- application arguments…
//
// Kernels split it as a POSIX shell does, so words are quoted as for one.
func bootargs(kernel, app, env []string) (string, error) {
	var words []string
	add := func(kind, prefix, word string) error {
		if strings.IndexByte(word, 0) >= 0 {
			return fmt.Errorf("the %s %q has a zero byte in it", kind, word)
		}
		if !utf8.ValidString(word) {
			return fmt.Errorf("the %s %q is not UTF-8, which is all that Hermit kernels take", kind, word)
		}
		words = append(words, prefix+quote(word))
		return nil
	}
	for _, a := range kernel {
		if a == "--" {
			return "", fmt.Errorf("%q cannot be a kernel argument: what follows it is for the application", a)
		}
		if err := add("kernel argument", "", a); err != nil {
			return "", err
		}
	}
	for _, e := range env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return "", fmt.Errorf("the environment variable %q is not of the form NAME=VALUE", e)
		}
		if err := add("environment variable", "env=", e); err != nil {
			return "", err
		}
	}
	if len(app) > 0 {
		words = append(words, "--")
	}
	for _, a := range app {
		if err := add("application argument", "", a); err != nil {
			return "", err
		}
	}
	return strings.Join(words, " "), nil
}

// plain are the bytes, beside letters and digits, that mean only themselves to a shell.
const plain = "%+,-./:=@_"

// quote returns a word so that a POSIX shell reads it back as it is.
func quote(word string) string {
	special := func(r rune) bool {
		letter := r|0x20 >= 'a' && r|0x20 <= 'z'
		digit := r >= '0' && r <= '9'
		return !letter && !digit && !strings.ContainsRune(plain, r)
	}
	if word != "" && strings.IndexFunc(word, special) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// SplitArguments splits the words that follow the kernel on the command line: those
// before the first "--" are for the kernel, those after it for the application.
func SplitArguments(words []string) (kernel, app []string) {
	for i, w := range words {
		if w == "--" {
			return words[:i:i], words[i+1:]
		}
	}
	return words, nil
}

// MergeEnv returns the environment of an image with that of the command line. Where
// both, or one of them twice, have a name, the later value counts.
func MergeEnv(image, cli []string) []string {
	at := make(map[string]int)
	var merged []string
	for _, list := range [...][]string{image, cli} {
		for _, e := range list {
			name, _, _ := strings.Cut(e, "=")
			if i, ok := at[name]; ok {
				merged[i] = e
				continue
			}
			at[name] = len(merged)
			merged = append(merged, e)
		}
	}
	return merged
}
