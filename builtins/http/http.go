// Package http is the plan language's module http.
//
//	http.get(url, headers = {}, timeout = "30s", check = True) -> http_response
package http

import "infra/builtins/internal/call"

// Specs returns the module's functions.
func Specs() []call.Spec {
	return []call.Spec{
		call.New(getSpec, get),
	}
}
