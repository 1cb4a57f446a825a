// Reads one JSON array of jobs per line and writes one JSON array of results per line.
import { createInterface } from 'node:readline'
import { decrypt, encrypt, getSignature } from '@wecom/crypto'

const work = {
  encrypt: ({ key, message, id }) => encrypt(key, message, id),
  decrypt: ({ key, encrypted }) => decrypt(key, encrypted),
  sign: ({ token, timestamp, nonce, encrypted }) => getSignature(token, timestamp, nonce, encrypted),
}

for await (const line of createInterface({ input: process.stdin })) {
  const results = JSON.parse(line).map((job) => {
    try {
      return work[job.do](job)
    } catch (error) {
      return { error: String(error) }
    }
  })
  process.stdout.write(JSON.stringify(results) + '\n')
}
