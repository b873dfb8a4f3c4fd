package clan

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// A sealed is a secret's file as far as it can be read without a key: the
// binary store of sops, in JSON.
type sealed struct {
	recipients []string // keys and fingerprints, sorted, each once
	empty      bool     // sops leaves an empty value in clear
}

// A sealedFile is that file's JSON.
type sealedFile struct {
	Data *string `json:"data"`
	Sops *struct {
		recipientsJSON
		KeyGroups []recipientsJSON `json:"key_groups"`
		MAC       string           `json:"mac"`
	} `json:"sops"`
}

type recipientsJSON struct {
	Age []struct {
		Recipient string `json:"recipient"`
	} `json:"age"`
	PGP []struct {
		FP string `json:"fp"`
	} `json:"pgp"`
	KMS []struct {
		ARN string `json:"arn"`
	} `json:"kms"`
	GCP []struct {
		ID string `json:"resource_id"`
	} `json:"gcp_kms"`
	Azure []struct {
		Vault string `json:"vault_url"`
		Name  string `json:"name"`
	} `json:"azure_kv"`
	Vault []struct {
		Address string `json:"vault_address"`
		Key     string `json:"key_name"`
	} `json:"hc_vault"`
	Huawei []struct {
		ID string `json:"key_id"`
	} `json:"hckms"`
}

// parseSealed reads a secret's file. Nothing of it is authenticated by that.
func parseSealed(data []byte) (sealed, error) {
	var f sealedFile
	if err := json.Unmarshal(data, &f); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return sealed{}, errors.New("is damaged: it is no whole JSON")
		}
		return sealed{}, errors.New("is damaged: it is no file as sops writes it")
	}
	switch {
	case f.Sops == nil:
		return sealed{}, errors.New("is not encrypted by sops")
	case f.Data == nil:
		return sealed{}, errors.New("is damaged: it has no data")
	case *f.Data != "" && !strings.HasPrefix(*f.Data, "ENC["):
		return sealed{}, errors.New("is damaged: its data is not encrypted")
	case f.Sops.MAC == "":
		return sealed{}, errors.New("is damaged: it has no MAC")
	}
	names := f.Sops.names()
	for _, group := range f.Sops.KeyGroups {
		names = append(names, group.names()...)
	}
	slices.Sort(names)
	return sealed{slices.Compact(names), *f.Data == ""}, nil
}

func (k recipientsJSON) names() []string {
	var names []string
	for _, x := range k.Age {
		names = append(names, x.Recipient)
	}
	for _, x := range k.PGP {
		names = append(names, x.FP)
	}
	for _, x := range k.KMS {
		names = append(names, x.ARN)
	}
	for _, x := range k.GCP {
		names = append(names, x.ID)
	}
	for _, x := range k.Azure {
		names = append(names, x.Vault+"/keys/"+x.Name)
	}
	for _, x := range k.Vault {
		names = append(names, x.Address+"/"+x.Key)
	}
	for _, x := range k.Huawei {
		names = append(names, x.ID)
	}
	return names
}
