#!/usr/bin/env bash
# Makes the synthetic SEV-SNP chain of crates/tee/vectors/synthetic: certificates in the form of AMD
# under a root that is not AMD's, and revocation lists. Needs OpenSSL 3. Usage: make.sh FOLDER
set -euo pipefail
cd "$1"
pss=(-sha384 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:48 -sigopt rsa_mgf1_md:sha384)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
openssl genrsa -out "$work/ark.key" 4096
openssl genrsa -out "$work/ask.key" 4096
printf 'basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n' > "$work/ca.ext"
openssl req -x509 -new -key "$work/ark.key" "${pss[@]}" -subj '/CN=ARK-Test' -days 36500 -set_serial 1 \
  -addext 'keyUsage=critical,keyCertSign,cRLSign' -out "$work/ark.pem"
openssl req -new -key "$work/ask.key" -subj '/CN=SEV-Test' -out "$work/ask.csr"
openssl x509 -req -in "$work/ask.csr" -CA "$work/ark.pem" -CAkey "$work/ark.key" "${pss[@]}" -days 36500 \
  -set_serial 65537 -extfile "$work/ca.ext" -out "$work/ask.pem"
openssl ecparam -name secp384r1 -genkey -noout -out "$work/vcek.key"
openssl ec -in "$work/vcek.key" -outform der -out "$work/vcek.key.der"
dd if="$work/vcek.key.der" of=vcek_scalar.bin bs=1 skip=8 count=48 status=none
openssl req -new -key "$work/vcek.key" -subj '/CN=SEV-VCEK' -out "$work/vcek.csr"
oid=1.3.6.1.4.1.3704.1
{
  echo "$oid.3.1=DER:020103"; echo "$oid.3.2=DER:020100"; echo "$oid.3.3=DER:020108"; echo "$oid.3.8=DER:020173"
  echo "$oid.4=DER:$(printf '11%.0s' $(seq 64))"
} > "$work/vcek.ext"
openssl x509 -req -in "$work/vcek.csr" -CA "$work/ask.pem" -CAkey "$work/ask.key" "${pss[@]}" -days 36500 \
  -set_serial 0 -extfile "$work/vcek.ext" -out "$work/vcek.pem"
for name in ark ask vcek; do openssl x509 -in "$work/$name.pem" -outform der -out "$name.der"; done
cat > "$work/ca.cnf" <<C
[ca]
default_ca=d
[d]
database=$work/index
crlnumber=$work/number
default_md=sha384
crl_extensions=x
[x]
authorityKeyIdentifier=keyid
C
list() {
  echo 01 > "$work/number"
  openssl ca -config "$work/ca.cnf" -gencrl -keyfile "$work/ark.key" -cert "$work/ark.pem" "${pss[@]:1}" \
    -crl_lastupdate 20261123000000Z -crl_nextupdate "$2" -out "$work/crl.pem"
  openssl crl -in "$work/crl.pem" -outform der -out "$1"
}
: > "$work/index"
list crl_empty.der 21261123000000Z
list crl_short.der 20261224000000Z
printf 'R\t361123000000Z\t261123000000Z\t010001\tunknown\t/CN=SEV-Test\n' > "$work/index"
list crl_revoked.der 21261123000000Z
