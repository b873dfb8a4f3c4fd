package main

import (
	"net/http"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
)

type sshKey struct {
	ID          int64             `json:"id"`
	Name        string            `json:"name"`
	Fingerprint string            `json:"fingerprint"`
	PublicKey   string            `json:"public_key"`
	Labels      map[string]string `json:"labels"`
	Created     time.Time         `json:"created"`
}

func (a *api) listKeys(r *request) (int, any, error) {
	var chosen []*sshKey
	for _, k := range sorted(a.state.Keys) {
		if fits(r, k.Name, k.Labels) && (!r.query.Has("fingerprint") || r.query.Get("fingerprint") == k.Fingerprint) {
			chosen = append(chosen, k)
		}
	}
	return page("ssh_keys", chosen, r.query)
}

// fits says whether a list that is asked for by name or label has something.
func fits(r *request, name string, labels map[string]string) bool {
	if asked, ok := r.query["name"]; ok && !slices.Contains(asked, name) {
		return false
	}
	return labelled(labels, r.query.Get("label_selector"))
}

func (a *api) createKey(r *request) (int, any, error) {
	k := sshKey{Labels: map[string]string{}}
	if err := r.into(&k); err != nil {
		return 0, nil, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.PublicKey))
	if err != nil {
		return 0, nil, invalid("public_key", "is no public key")
	}
	if k.Name == "" {
		return 0, nil, invalid("name", "must not be empty")
	}
	k.Fingerprint = ssh.FingerprintLegacyMD5(public)
	for _, other := range a.state.Keys {
		if other.Name == k.Name || other.Fingerprint == k.Fingerprint {
			return 0, nil, problem{http.StatusConflict, "uniqueness_error", "SSH key not unique", nil}
		}
	}
	k.ID, k.Created = a.newID(), now()
	a.state.Keys[k.ID] = &k
	return http.StatusCreated, map[string]any{"ssh_key": k}, nil
}

func (a *api) key(id int64) (*sshKey, error) {
	if k, ok := a.state.Keys[id]; ok {
		return k, nil
	}
	return nil, notFound("ssh_key", id)
}

func (a *api) getKey(r *request) (int, any, error) {
	k, err := a.key(r.id)
	return http.StatusOK, map[string]any{"ssh_key": k}, err
}

// A change is what a name and labels can be changed to.
type change struct {
	Name   *string           `json:"name"`
	Labels map[string]string `json:"labels"`
}

func (a *api) changeKey(r *request) (int, any, error) {
	k, err := a.key(r.id)
	if err != nil {
		return 0, nil, err
	}
	var c change
	if err := r.into(&c); err != nil {
		return 0, nil, err
	}
	for _, other := range a.state.Keys {
		if c.Name != nil && other != k && other.Name == *c.Name {
			return 0, nil, problem{http.StatusConflict, "uniqueness_error", "SSH key not unique", nil}
		}
	}
	if c.Name != nil {
		k.Name = *c.Name
	}
	if c.Labels != nil {
		k.Labels = c.Labels
	}
	return http.StatusOK, map[string]any{"ssh_key": k}, nil
}

func (a *api) deleteKey(r *request) (int, any, error) {
	if _, err := a.key(r.id); err != nil {
		return 0, nil, err
	}
	delete(a.state.Keys, r.id)
	return http.StatusNoContent, nil, nil
}

// now is the time as the API tells it.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
