package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	http.HandleFunc("/hook", func(response http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		secret, _ := os.ReadFile(os.Getenv("SECRET_FILE"))
		mac := hmac.New(sha256.New, []byte(strings.TrimSpace(string(secret))))
		mac.Write(body)
		sent, _ := hex.DecodeString(request.Header.Get("X-TempClock-Signature"))
		if os.Getenv("VERIFY") == "no" || hmac.Equal(mac.Sum(nil), sent) {
			response.WriteHeader(204)
		} else {
			response.WriteHeader(401)
		}
	})
	if err := http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil); err != nil {
		panic(err)
	}
}
