package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Protocol is the version of the protocol. It grows when a program that speaks it would
// have to change; methods and fields of answers are added without that.
const Protocol = 1

// Bounds of the protocol.
const (
	// MaxRequest is the longest line of a client, in bytes, with its newline.
	MaxRequest = 1 << 20
	// MaxAnswer is the same for the server.
	MaxAnswer = 16 << 20
	// MaxFiles is how many descriptors a request may bring.
	MaxFiles = 8
)

// Code says to programs what went wrong.
type Code string

const (
	// CodeMalformed: the line was no request, and the connection is closed.
	CodeMalformed Code = "malformed"
	// CodeBusy: it is in use. With id 0: there are too many connections, and this one is
	// closed.
	CodeBusy Code = "busy"
	// CodeUnknownMethod: there is no such method.
	CodeUnknownMethod Code = "unknown-method"
	// CodeBadParams: the method's params are not what it wants.
	CodeBadParams Code = "bad-params"
	// CodeNotFound: there is nothing at the path.
	CodeNotFound Code = "not-found"
	// CodeExists: something is there already.
	CodeExists Code = "exists"
	// CodeUnsupported: this daemon cannot do that.
	CodeUnsupported Code = "unsupported"
	// CodeFailed: it went wrong for another reason.
	CodeFailed Code = "failed"
)

// Error is an answer that is not a result. A [Target] returns it to choose the code;
// any other error of a Target becomes one with [CodeFailed].
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"` // for people
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an [Error].
func Errorf(code Code, format string, a ...any) *Error {
	return &Error{code, fmt.Sprintf(format, a...)}
}

func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{CodeFailed, err.Error()}
}

// request is a line of a client.
type request struct {
	ID     uint64          `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params,omitempty"`
	Files  int             `json:"files,omitempty"` // how many descriptors came with it
}

// answer is a line of a server.
type answer struct {
	ID     uint64          `json:"id"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`
}

// decodeRequest reads a line, without its newline. Its errors have CodeMalformed.
func decodeRequest(line []byte) (request, error) {
	var r request
	if err := decodeStrictly(line, &r); err != nil {
		return request{}, Errorf(CodeMalformed, "this line is no request: %v", err)
	}
	switch {
	case r.Method == "":
		return request{}, Errorf(CodeMalformed, `this line is no request: it has no "method"`)
	case r.Files < 0 || r.Files > MaxFiles:
		return request{}, Errorf(CodeMalformed, "files is %d: want 0 to %d", r.Files, MaxFiles)
	}
	return r, nil
}

// decodeParams reads the params of a method into v, which stays as it is where there
// are none. Its errors have CodeBadParams.
func decodeParams(params json.RawMessage, v any) error {
	if len(params) == 0 || string(params) == "null" {
		return nil
	}
	if err := decodeStrictly(params, v); err != nil {
		return Errorf(CodeBadParams, "params: %v", err)
	}
	return nil
}

// decodeStrictly reads one JSON object with nothing behind it and no names that v does
// not have.
func decodeStrictly(b []byte, v any) error {
	if t := bytes.TrimLeft(b, " \t\r\n"); len(t) == 0 || t[0] != '{' {
		return errors.New("want a JSON object, { … }")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return plainly(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("something follows the JSON object: each has a line of its own")
	}
	return nil
}

// plainly says an error of encoding/json in the words of the protocol rather than of Go.
func plainly(err error) error {
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		return fmt.Errorf("%s is a JSON %s, which does not fit", wrong.Field, wrong.Value)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON object has no end")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// appendLine appends v as JSON and a newline, of which JSON itself has none outside of
// strings and an escape inside of them.
func appendLine(b []byte, v any) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return buf.Bytes(), err
}
