package bus

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
)

// A packed message carries its data compressed and says so in a header, and
// every way of reading unpacks it: ten thousand recipients then fit into the
// 1 MiB that a server takes unless told otherwise.
const (
	packedHeader = "Tuma-Packed"
	packedGzip   = "gzip"
	packAbove    = 256 << 10 // smaller data is left as it is, readable with any client
	maxUnpacked  = 32 << 20
)

// Pack compresses large data. Data is as before if that does not help.
func (o *Out) Pack() {
	if len(o.Data) <= packAbove {
		return
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(o.Data)
	if err != nil || z.Close() != nil || b.Len() >= len(o.Data) {
		return
	}
	if o.Header == nil {
		o.Header = Header{}
	}
	o.Header[packedHeader], o.Data = []string{packedGzip}, b.Bytes()
}

// unpacked returns a message's data as it was before Pack. What claims to be
// packed and is not, or would be unreasonably large, is left as it is: its
// reader will find that it cannot be read. So is what clients publish, who could
// make a few bytes claim a lot of memory.
func unpacked(subject string, h Header, data []byte) []byte {
	if v := h[packedHeader]; len(v) == 0 || v[0] != packedGzip || strings.HasPrefix(subject, "sms.submit.") {
		return data
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return data
	}
	out, err := io.ReadAll(io.LimitReader(z, maxUnpacked+1))
	if err != nil || len(out) > maxUnpacked {
		return data
	}
	return out
}
