package httpapi

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
)

func TestDoBadCertificate(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = discardLog()
	s.StartTLS()
	t.Cleanup(s.Close)
	_, err := client(t, s.URL).Do(t.Context(), post([]byte("{}")))
	var (
		e    *providers.Error
		cert x509.UnknownAuthorityError
	)
	if !errors.As(err, &e) || e.Class != providers.Unavailable || !errors.As(err, &cert) {
		t.Errorf("got %v, want unavailable, wrapping the certificate's error", err)
	}
}

func TestDoOverTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			t.Errorf("HTTP/%d: HTTP/2 repeats requests by itself", r.ProtoMajor)
		}
		if r.URL.Path == "/send" {
			_, _ = io.Copy(io.Discard, r.Body)
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			resetConn(conn.(*tls.Conn).NetConn())
			return
		}
		_, _ = io.WriteString(w, "{}")
	}))
	s.Config.ErrorLog = discardLog()
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	transport := NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	transport.TLSClientConfig.RootCAs.AddCert(s.Certificate())
	c := client(t, s.URL, func(o *Options) { o.Transport = transport })

	resp, err := c.Do(t.Context(), Request{Method: http.MethodGet, Path: "/ok"})
	if err != nil || resp.Status != 200 || string(resp.Body) != "{}" {
		t.Fatalf("got %+v, %v", resp, err)
	}
	// The alert that closes a TLS connection cannot be written to a dead one: that
	// must not be taken for a request which did not leave.
	_, err = c.Do(t.Context(), post([]byte("{}")))
	var e *providers.Error
	if !errors.As(err, &e) || e.Class != providers.Uncertain {
		t.Errorf("reset after processing: got %v, want uncertain", err)
	}
}
