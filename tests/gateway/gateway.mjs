// A real Wechaty puppet service over the mock puppet, with a control port for tests on loopback.
//
// Environment: GW_PORT, GW_CONTROL_PORT, GW_TOKEN, GW_TLS=1, GW_LOGIN=0 (nobody is logged in at first),
// GW_STATE (a file: messages, what was asked for and what was sent survive kill -9, as a puppet's disk
// cache does).
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import { FileBox } from 'file-box'
import * as PUPPET from 'wechaty-puppet'
import { PuppetMock, mock } from 'wechaty-puppet-mock'
import { PuppetServer } from 'wechaty-puppet-service'

const { GW_PORT, GW_CONTROL_PORT, GW_TOKEN, GW_TLS, GW_LOGIN, GW_STATE } = process.env
const BOT = 'wxid_bot'

const record = (what, value) => {
  if (GW_STATE) fs.appendFileSync(GW_STATE, JSON.stringify([what, value]) + '\n')
}

class RecordingPuppet extends PuppetMock {
  sent = []
  asked = []
  calls = { start: 0, stop: 0, ding: 0 }
  faults = {} // method → what to do once: {hang_ms} before, {late: true} fail after it was sent
  deaf = false

  async onStart () { this.calls.start++; await super.onStart() }
  async onStop () { this.calls.stop++; await super.onStop() }
  ding (data) { this.calls.ding++; if (!this.deaf) setTimeout(() => this.emit('dong', { data: data || '' }), 10) }

  async meddle (method) {
    const fault = this.faults[method]
    delete this.faults[method]
    if (fault?.hang_ms) await new Promise(resolve => setTimeout(resolve, fault.hang_ms))
    if (fault?.fail) throw new Error('the puppet cannot')
    return fault
  }

  async messageRawPayload (id) {
    this.asked.push(id)
    record('asked', id)
    await this.meddle('payload')
    return super.messageRawPayload(id)
  }

  async keep (entry, payload) {
    const id = `sent-${process.pid}-${this.sent.length + 1}`
    const kept = { id, at: Date.now(), ...entry }
    this.sent.push(kept)
    record('sent', kept)
    // A puppet reports its own messages too, and answers for them when asked.
    const at = { id, talkerId: this.currentUserId, timestamp: Date.now(), ...payload }
    if (/@/.test(entry.chat)) at.roomId = entry.chat
    else at.listenerId = contact(entry.chat).id
    this.mocker.MessageMock.create(at)
    return id
  }

  async messageSendText (chat, text, mentions) {
    const fault = await this.meddle('send')
    const id = await this.keep({ kind: 'text', chat, text, mentions }, { type: PUPPET.types.Message.Text, text })
    if (fault?.late) throw new Error('delivered, and then something broke')
    return fault?.no_id ? undefined : id
  }

  async messageSendFile (chat, file) {
    await this.meddle('send')
    const data = await file.toBuffer()
    const sha256 = createHash('sha256').update(data).digest('hex')
    const entry = { kind: 'file', chat, name: file.name, type: file.mediaType, bytes: data.length, sha256, head: data.toString('utf8', 0, 400) }
    return this.keep(entry, { type: PUPPET.types.Message.Image, text: '' })
  }

  // The mock answers every picture with a QR code.
  async messageImage (id, type) { this.imageType = type; return this.messageFile(id) }
}

const mocker = new mock.Mocker()
const puppet = new RecordingPuppet({ mocker })
puppet.on('error', () => {})
const bot = mocker.createContact({ id: BOT, name: '瞳小护' })
const contact = (id, friend = true) => mocker.cacheContactPayload.has(id)
  ? mocker.ContactMock.load(id)
  : mocker.createContact({ id, name: `Name of ${id}`, friend })
const room = mocker.createRoom({ id: 'r1@chatroom', topic: 'Neighbours', memberIdList: [BOT, 'wxid_alice'], adminIdList: [] })
contact('wxid_alice')
const login = () => { if (!puppet.isLoggedIn) mocker.login(bot) }
mocker.use(() => { if (GW_LOGIN !== '0') setTimeout(login, 50); return () => {} })

if (GW_STATE && fs.existsSync(GW_STATE)) {
  for (const line of fs.readFileSync(GW_STATE, 'utf8').split('\n')) {
    if (!line.endsWith(']')) continue // the kill cut it
    const [what, value] = JSON.parse(line)
    if (what === 'sent') puppet.sent.push(value)
    if (what === 'asked') puppet.asked.push(value)
    if (what === 'message') { contact(value.talkerId); mocker.cacheMessagePayload.set(value.id, value) }
  }
}

function say (from, what, { inRoom, at, friend } = {}) {
  // The puppet's own record of a new message is what is kept, before anybody hears of it.
  let id
  const keep = mocker.messagePayload
  mocker.messagePayload = function (messageId, payload) {
    if (payload) { id = messageId; record('message', payload) }
    return keep.call(this, messageId, payload)
  }
  try {
    contact(from, friend).say(what, at ? [bot] : []).to(inRoom ? room : bot)
  } finally {
    mocker.messagePayload = keep
  }
  return { id }
}

function post (payload) { // a message of any type, as a real puppet may report it
  const whole = { id: `m-${Math.random()}`, talkerId: 'wxid_alice', listenerId: BOT, timestamp: Date.now(), text: '', ...payload }
  contact(whole.talkerId)
  mocker.cacheMessagePayload.set(whole.id, whole)
  puppet.emit('message', { messageId: whole.id })
  return { id: whole.id }
}

const controls = {
  text: (q, body) => say(q.from || 'wxid_alice', body.toString(), { inRoom: q.room, at: q.at, friend: q.friend !== '0' }),
  picture: (q, body) => say(q.from || 'wxid_alice', q.url
    ? FileBox.fromUrl(q.url, { name: 'eye.jpg' })
    : FileBox.fromBase64(body.toString('base64'), 'eye.jpg')),
  post: (_, body) => post(JSON.parse(body)),
  emit: (q, body) => { puppet.emit(q.event, JSON.parse(body)); return {} },
  scan: q => { mocker.scan(q.qrcode); return {} },
  login: () => { login(); return {} },
  logout: async () => { await puppet.logout('by the test'); return {} },
  fault: (q, body) => { puppet.faults[q.method] = JSON.parse(body); return {} },
  deaf: q => { puppet.deaf = q.on === '1'; return {} },
  drop: async () => { await server.stop(); setTimeout(() => process.exit(0), 50); return {} },
  state: () => ({ sent: puppet.sent, asked: puppet.asked, calls: puppet.calls, loggedIn: puppet.isLoggedIn, imageType: puppet.imageType }),
}

const server = new PuppetServer({ endpoint: `127.0.0.1:${GW_PORT}`, puppet, token: GW_TOKEN, tls: { disable: GW_TLS !== '1' } })
await server.start()
http.createServer(async (request, response) => {
  const url = new URL(request.url, 'http://localhost')
  const body = Buffer.concat(await request.toArray())
  response.setHeader('content-type', 'application/json')
  try {
    const answer = await controls[url.pathname.slice(1)](Object.fromEntries(url.searchParams), body)
    response.end(JSON.stringify(answer))
  } catch (error) {
    response.statusCode = 500
    response.end(JSON.stringify({ error: String(error) }))
  }
}).listen(Number(GW_CONTROL_PORT), '127.0.0.1', () => console.log('ready'))
