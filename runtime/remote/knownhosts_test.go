package remote

import "golang.org/x/crypto/ssh/knownhosts"

func hashed(host string) string { return knownhosts.HashHostname(host) }
