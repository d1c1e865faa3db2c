package ingest

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// authenticate finds the tenant of a request by its API key. Every key of every
// tenant is compared, in constant time, so that an answer's timing tells
// nothing of them; hashes are compared, so that lengths are equal.
func (in *Ingest) authenticate(r *http.Request) (*Tenant, error) {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(key)))
	var found *Tenant
	for _, t := range in.tenants {
		for i := range t.Keys {
			if subtle.ConstantTimeCompare(sum[:], t.Keys[i][:]) == 1 {
				found = t
			}
		}
	}
	if found == nil || !strings.EqualFold(scheme, "Bearer") {
		return nil, problem(http.StatusUnauthorized, codeUnauthorized, "a valid API key is required: Authorization: Bearer KEY")
	}
	return found, nil
}

type tenantKey struct{}

// tenant returns the tenant that withTenant found.
func tenant(ctx context.Context) *Tenant {
	t, _ := ctx.Value(tenantKey{}).(*Tenant)
	return t
}

// withTenant lets only authenticated requests through.
func (in *Ingest) withTenant(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		t, err := in.authenticate(r)
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="tuma"`)
			return err
		}
		return next(w, r.WithContext(context.WithValue(r.Context(), tenantKey{}, t)))
	}
}

// withOperator lets only operators through.
func (in *Ingest) withOperator(next handler) handler {
	return in.withTenant(func(w http.ResponseWriter, r *http.Request) error {
		if !tenant(r.Context()).Operator {
			return problem(http.StatusForbidden, codeForbidden, "for operators only")
		}
		return next(w, r)
	})
}
