package main

import (
	"encoding/json"
	"net/http"
)

// secretsManager answers GetSecretValue for one secret over the service's JSON protocol, and nothing else.
func secretsManager(arn, value string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		var request struct {
			SecretID string `json:"SecretId"`
		}
		decoded := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&request)
		if decoded != nil || r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" || request.SecretID != arn {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"__type": "ResourceNotFoundException", "message": "there is no such secret"})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"ARN": arn, "Name": "client-secret", "SecretString": value})
	})
}
