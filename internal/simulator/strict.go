package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// strictJSON reads exactly one JSON document without unknown fields into v.
func strictJSON(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON document")
	}
	return nil
}

func contentType(r *http.Request) string {
	t, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if cs := params["charset"]; err != nil || cs != "" && cs != "utf-8" && cs != "UTF-8" {
		return ""
	}
	return t
}

// webURL reports whether s can be called back.
func webURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// intern makes equal neighbours share their memory.
type intern struct{ last string }

func (in *intern) get(s string) string {
	if s != in.last {
		in.last = s
	}
	return in.last
}

// fieldOf says what is wrong with a document without quoting its values.
func fieldOf(err error) string {
	if typed := (*json.UnmarshalTypeError)(nil); errors.As(err, &typed) {
		return "wrong type of field " + typed.Field
	}
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return "not valid JSON"
	}
	return strings.TrimPrefix(err.Error(), "json: ") // unknown field "name"
}
