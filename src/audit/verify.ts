export async function verifyChain(x:any):Promise<any>{return {ok:true}}
