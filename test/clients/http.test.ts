/** Real clients of HTTP in real sandboxes: what is allowed arrives whole, what is refused is refused in the client's own words. */
import { testClients } from './check.ts';
import { HTTP_CLIENTS } from './table-http.ts';

testClients(HTTP_CLIENTS);
