package spec

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Config is what a configuration file says.
type Config struct {
	Settings
	Mounts []Mount // in the order of the file; not yet looked at together, see [Check]
	// At is where each setting was said, by its name.
	At map[string]Pos
}

// MaxConfig bounds a configuration file, in bytes.
const MaxConfig = 1 << 20

// ParseFile reads the configuration file at path. What it names by relative
// paths of the host is relative to the directory that it is in.
func ParseFile(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	defer f.Close()
	return parse(f, path, filepath.Dir(path))
}

// Parse reads configuration from r to its end. name stands for it in errors.
// Relative paths are left as they are. All mistakes are told, as joined [*Error].
func Parse(r io.Reader, name string) (*Config, error) { return parse(r, name, "") }

func parse(r io.Reader, name, base string) (*Config, error) {
	doc, err := io.ReadAll(io.LimitReader(r, MaxConfig+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("configuration file: %w", err)
	case len(doc) > MaxConfig:
		return nil, &Error{Pos{Name: name}, fmt.Sprintf("it is too long: want at most %d bytes", MaxConfig)}
	}
	d := document{doc: doc, name: name, base: base, config: &Config{At: map[string]Pos{}}}
	if err := d.checkSyntax(); err != nil {
		return nil, err
	}
	d.read()
	slices.SortStableFunc(d.problems, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
	if err := d.problems.err(); err != nil {
		return nil, err
	}
	return d.config, nil
}

// document is a file while it is read. TOML's own rules, such as that no key is
// there twice, have been checked before.
type document struct {
	doc        []byte
	name, base string
	config     *Config
	problems   problems
	parser     unstable.Parser

	// The bytes up to counted end at the place at.
	counted int
	at      Pos
}

// checkSyntax has the whole file decoded, which finds all that is no TOML.
func (d *document) checkSyntax() error {
	var all map[string]any
	err := toml.Unmarshal(d.doc, &all)
	if err == nil {
		return nil
	}
	pos := Pos{Name: d.name}
	var e *toml.DecodeError
	if errors.As(err, &e) {
		line, column := e.Position()
		pos = d.pos(d.offset(line, column))
	}
	return &Error{pos, strings.TrimPrefix(err.Error(), "toml: ")}
}

// offset is where a line and a column in bytes are, both counted from 1.
func (d *document) offset(line, column int) int {
	lines := bytes.SplitAfterN(d.doc, []byte{'\n'}, line)
	start := len(d.doc) - len(lines[len(lines)-1])
	return min(start+max(column-1, 0), len(d.doc))
}

// pos counts lines and characters. Places are asked for mostly in their order, so
// it goes on where it was.
func (d *document) pos(offset int) Pos {
	if offset < d.counted || d.counted == 0 {
		d.counted, d.at = 0, Pos{d.name, 1, 1}
	}
	passed := d.doc[d.counted:offset]
	if i := bytes.LastIndexByte(passed, '\n'); i >= 0 {
		d.at.Line += bytes.Count(passed, []byte{'\n'})
		d.at.Column = 1
		passed = passed[i+1:]
	}
	d.at.Column += utf8.RuneCount(passed)
	d.counted = offset
	return d.at
}

// section takes the keys of a table, end is called behind them.
type section struct {
	key func(*unstable.Node)
	end func()
}

// nothing takes the keys of a table that is a mistake itself.
var nothing = section{func(*unstable.Node) {}, func() {}}

// read goes through the file's expressions.
func (d *document) read() {
	settings := newReader(settingForm, &d.config.Settings)
	settings.base, settings.at = d.base, d.config.At
	in := section{func(kv *unstable.Node) { d.setting(&settings, kv) }, func() {}}
	d.parser.Reset(d.doc)
	for d.parser.NextExpression() {
		switch e := d.parser.Expression(); e.Kind {
		case unstable.KeyValue:
			in.key(e)
		case unstable.Table, unstable.ArrayTable:
			in.end()
			in = d.table(e)
		}
	}
	in.end()
	if err := d.config.check(); err != nil {
		d.problems.add(d.config.At["fd"], err.Error())
	}
}

// table begins a table.
func (d *document) table(e *unstable.Node) section {
	k := d.key(e)
	known, why := settingForm.find(k.word)
	switch {
	case k.word == shareWord && k.dotted:
		why = "a table inside of share: want the options of a mount as KEY = VALUE below [[share]]"
	case k.word == shareWord && e.Kind == unstable.ArrayTable:
		return d.share(k.pos)
	case k.word == shareWord:
		why = singleShare
	case why == "":
		why = k.word + ": found a table: want " + tomlKinds[known.option.kind] + ", as " + k.word + " = VALUE before the first [[share]]"
	}
	d.problems.add(k.pos, why)
	return nothing
}

// share begins a mount.
func (d *document) share(pos Pos) section {
	m := &Mount{Pos: pos}
	r := newReader(mountForm, m)
	r.base = d.base
	before := len(d.problems)
	return section{
		func(kv *unstable.Node) { d.option(&r, kv) },
		func() {
			// What was not understood would be missing now.
			if len(d.problems) > before {
				return
			}
			if at, why := finish(&r, pos); why != "" {
				d.problems.add(at, why)
				return
			}
			d.config.Mounts = append(d.config.Mounts, *m)
		},
	}
}

// setting takes a key above all tables.
func (d *document) setting(r *reader[Settings], kv *unstable.Node) {
	k := d.key(kv)
	_, known := settingForm.words[k.word]
	_, ofMount := mountForm.words[k.word]
	switch {
	case k.word == shareWord && k.dotted:
		d.problems.add(k.pos, singleShare)
	case k.word == shareWord:
		d.inlineShares(kv)
	case ofMount && !known:
		d.problems.add(k.pos, k.word+" is an option of a mount: want it below a [[share]]")
	default:
		say(d, r, kv)
	}
}

// option takes a key of a mount.
func (d *document) option(r *reader[Mount], kv *unstable.Node) {
	k := d.key(kv)
	_, known := mountForm.words[k.word]
	if _, ofDaemon := settingForm.words[k.word]; ofDaemon && !known {
		d.problems.add(k.pos, k.word+" is a setting of the daemon: want it before the first [[share]]")
		return
	}
	say(d, r, kv)
}

// inlineShares takes share = [{…}, …].
func (d *document) inlineShares(kv *unstable.Node) {
	const want = ": want an array of tables, as [[share]] makes them"
	at := d.valueOffset(kv)
	if v := kv.Value(); v.Kind != unstable.Array {
		d.problems.add(d.pos(at), "share: found "+found(v)+want)
		return
	}
	for it := kv.Value().Children(); it.Next(); {
		v := it.Node()
		if v.Kind != unstable.InlineTable {
			d.problems.add(d.pos(d.place(v, at)), "share: found "+found(v)+want)
			continue
		}
		s := d.share(d.pos(d.place(v, at)))
		for keys := v.Children(); keys.Next(); {
			s.key(keys.Node())
		}
		s.end()
	}
}

// say passes what a key has on to r.
func say[T any](d *document, r *reader[T], kv *unstable.Node) {
	k := d.key(kv)
	m, why := r.form.find(k.word)
	if why == "" && k.dotted {
		why = k.word + ": found a table: want " + tomlKinds[m.option.kind]
	}
	if why != "" {
		d.problems.add(k.pos, why)
		return
	}
	at := d.valueOffset(kv)
	elements := []*unstable.Node{kv.Value()}
	if v := kv.Value(); m.option.kind.repeats() && v.Kind == unstable.Array {
		elements = nil
		for it := v.Children(); it.Next(); {
			elements = append(elements, it.Node())
		}
	}
	for _, v := range elements {
		s, ok := scalar(v, m.option.kind)
		if !ok {
			why = k.word + ": found " + found(v) + ": want " + m.option.tomlWant()
		} else {
			why = r.say(k.word, m, k.pos, s)
		}
		if why != "" {
			d.problems.add(d.pos(d.place(v, at)), why)
		}
	}
}

// shareWord is the key of the mounts.
const shareWord = "share"

const singleShare = "share is a single table: want [[share]], one for each mount"

// key is the key of a table or of a value.
type key struct {
	word   string // the first part
	pos    Pos
	dotted bool // there are more
}

func (d *document) key(e *unstable.Node) key {
	it := e.Key()
	it.Next()
	n := it.Node()
	return key{string(n.Data), d.pos(int(n.Raw.Offset)), !it.IsLast()}
}

// valueOffset is where the value of a key begins.
func (d *document) valueOffset(kv *unstable.Node) int {
	end := 0
	for it := kv.Key(); it.Next(); {
		end = int(it.Node().Raw.Offset + it.Node().Raw.Length)
	}
	rest := d.doc[end:]
	return len(d.doc) - len(bytes.TrimLeft(bytes.TrimLeft(rest, " \t")[1:], " \t"))
}

// place is where a value is. Arrays do not tell: these are in one that begins at
// outer.
func (d *document) place(v *unstable.Node, outer int) int {
	if v.Raw.Length == 0 {
		return outer
	}
	return int(v.Raw.Offset)
}

// scalar is a value as the command line would have it; ok says that it is of a
// type which the kind of option takes.
func scalar(v *unstable.Node, k kind) (s string, ok bool) {
	switch v.Kind {
	case unstable.Bool:
		return string(v.Data), k == flagKind
	case unstable.String:
		return string(v.Data), k != flagKind && k != numberKind
	case unstable.Integer:
		n, err := strconv.ParseInt(string(v.Data), 0, 64)
		return strconv.FormatInt(n, 10), err == nil && (k == numberKind || k == sizeKind)
	}
	return "", false
}

// found says what a value is.
func found(v *unstable.Node) string {
	switch v.Kind {
	case unstable.String:
		return "the string " + quote(string(v.Data))
	case unstable.Bool, unstable.Integer, unstable.Float:
		return string(v.Data[:min(len(v.Data), maxQuoted)])
	case unstable.Array:
		return "an array"
	case unstable.InlineTable:
		return "a table"
	}
	return "a date or a time"
}
